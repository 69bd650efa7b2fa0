/*
 * The store of agents' keys, embedded (SQLite, WAL). It holds only hashes: a key is 256 random
 * bits, so one SHA-256 suffices and no dictionary helps. Calls block: the gateway makes them on the
 * store's own thread (store/watch.h), the command line directly.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STORE_KEY_TEXT_SIZE =
        64, /* a key as printed, with its zero: "cvk_" and 43 characters of base64url */
    STORE_HASH_SIZE = 32,
    STORE_NAME_SIZE = 129,
    STORE_KEYS_OF_NAME = 16, /* live keys that one name may have */
};

struct store;

struct store_key {
    char name[STORE_NAME_SIZE];
    char user[STORE_NAME_SIZE]; /* may be "" */
    int64_t created;            /* Unix seconds */
    int64_t expires;            /* Unix seconds; 0: never (an old key in its grace has a time) */
    uint8_t hash[STORE_HASH_SIZE];
    int64_t id; /* unique for ever, never used again */
};

/* Why a key was refused: for the log, not for whoever gave the key. */
enum store_denial {
    STORE_KEY_MISSING,  /* none was given */
    STORE_KEY_UNKNOWN,  /* the name has, or had, keys; this is none of them */
    STORE_NAME_UNKNOWN, /* neither the key nor the name is in the store */
    STORE_KEY_OF_OTHER, /* the key is one of another name */
    STORE_KEY_EXPIRED,
    STORE_KEY_REVOKED,
};

/* What a check has found. */
struct store_finding {
    int64_t id;                 /* of the key */
    char user[STORE_NAME_SIZE]; /* as noted with the key; may be "" */
    enum store_denial denial;   /* only where the key is refused */
};

/* Opens (and makes, directory 0700 and file 0600) the store in `directory`. On failure writes a
 * sentence into `why`. CULVERT_ERROR_PERMISSION if other users may read or replace the file,
 * -errno, CULVERT_ERROR_STORE. */
int store_open(const char *directory, struct store **out, char *why, size_t why_size);
void store_close(struct store *store);

/* Whether there is a store in the directory, or may be one that cannot be seen. */
bool store_exists(const char *directory);

/* A new random key for a new name; printed once by the caller. CULVERT_ERROR_EXISTS if the name has
 * a live key, CULVERT_ERROR_INVALID for a name that cannot be, CULVERT_ERROR_STORE. */
int store_add(struct store *store, const char *name, const char *user, int64_t now,
              char key[static STORE_KEY_TEXT_SIZE]);
/* A second key; the others live for at most `grace` seconds more. CULVERT_ERROR_NOT_FOUND, or
 * CULVERT_ERROR_LIMIT if the name has STORE_KEYS_OF_NAME live keys. */
int store_rotate(struct store *store, const char *name, int64_t now, int64_t grace,
                 char key[static STORE_KEY_TEXT_SIZE]);
/* Ends all keys of a name. Their hashes stay for a while, so that a refusal can be explained.
 * CULVERT_ERROR_NOT_FOUND. */
int store_revoke(struct store *store, const char *name);

/* Calls `each` for every key, in order of name and creation; expired ones are left out. */
int store_list(struct store *store, int64_t now,
               void (*each)(void *context, const struct store_key *key), void *context);

/* Whether `key` is a live key of `name`, and then in *finding whose. Compared in constant time.
 * CULVERT_ERROR_REFUSED if not, and then in *finding why. The time taken does not tell whether the
 * name exists. */
int store_check(struct store *store, const char *name, const char *key, size_t key_size,
                int64_t now, struct store_finding *finding);

/* A sentence such as "the key was revoked"; static storage. */
const char *store_denial_text(enum store_denial denial);

/* How many keys are live, or an error. */
int store_count(struct store *store, int64_t now, int64_t *count);

/* Whether the key with this id is still there and not expired: 1, 0, or an error. */
int store_is_live(struct store *store, int64_t id, int64_t now);

/* A number that changes when any process has changed the store. CULVERT_ERROR_STORE also when the
 * file was moved or removed under us, since changes would then go unseen. */
int store_version(struct store *store, int64_t *version);

/* The first time after `now` at which a key expires, or INT64_MAX. */
int store_next_expiry(struct store *store, int64_t now, int64_t *when);

/* The directory used when none is named: $XDG_STATE_HOME/culvert where that is set, else
 * /var/lib/culvert for root and ~/.local/state/culvert for others. CULVERT_ERROR_NOT_FOUND if there
 * is no home, CULVERT_ERROR_TOO_LARGE. */
int store_default_directory(char *out, size_t size);

/* The last failure in a person's words; "" if there was none. */
const char *store_message(const struct store *store);

#endif
