/* Files of certificates and keys (PEM, RFC 7468). */
#ifndef NET_PEM_FILE_H
#define NET_PEM_FILE_H

#include <stddef.h>

struct pem_file {
    char *text;
    size_t size;
};

/* Reads a regular file, without a UTF-8 byte order mark at its beginning, which OpenSSL would take
 * for a part of the first line. Returns 0, or an error with a sentence that names the file in
 * `why`.
 */
int pem_file_read(struct pem_file *file, const char *path, char *why, size_t why_size);
/* The same for a private key, which others must not be able to read: CULVERT_ERROR_PERMISSION. */
int pem_file_read_secret(struct pem_file *file, const char *path, char *why, size_t why_size);
/* Wipes and frees; repeatable. */
void pem_file_deinit(struct pem_file *file);

#endif
