/* What an error of a socket, or of dialling, is called towards the far end. */
#ifndef ENDS_FAILURE_H
#define ENDS_FAILURE_H

/* The enum reason_code of an error (-errno or enum culvert_error), or `otherwise` where none fits.
 */
int failure_code(int error, int otherwise);

/* A sentence for the user, or NULL if the code's own text says as much. */
const char *failure_text(int error);

#endif
