#include "store/store.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "store/file.h"
#include "store/secret.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SCHEMA_VERSION = 1,
    APPLICATION_ID = 0x63766c74, /* "cvlt" */
    BUSY_MILLISECONDS = 5000,
    REVOKED = -1, /* in the column `expires` */
    MESSAGE_SIZE = PATH_MAX + 512,
};

/* A revoked key must not come back with a power cut: synchronous = FULL. */
#define SETTINGS                 \
    "PRAGMA cache_size = -256;"  \
    "PRAGMA mmap_size = 0;"      \
    "PRAGMA synchronous = FULL;" \
    "PRAGMA wal_autocheckpoint = 100;"

#define SCHEMA                                  \
    "CREATE TABLE keys ("                       \
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"    \
    " name TEXT NOT NULL,"                      \
    " user TEXT NOT NULL,"                      \
    " created INTEGER NOT NULL,"                \
    " expires INTEGER NOT NULL,"                \
    " hash BLOB NOT NULL UNIQUE);"              \
    "CREATE INDEX keys_by_name ON keys (name);" \
    "PRAGMA application_id = 1668705396;"       \
    "PRAGMA user_version = 1;"

#define IS_LIVE "(expires = 0 OR expires > :now)"

enum query {
    BEGIN,
    COMMIT,
    INSERT,
    COUNT_LIVE,
    COUNT_ALL,
    DELETE_EXPIRED,
    REVOKE_NAME,
    SET_GRACE,
    LIST,
    FIND_HASH,
    KNOWS_NAME,
    FIND_ID,
    DATA_VERSION,
    NEXT_EXPIRY,
    QUERIES
};

static const char *const QUERY_TEXTS[QUERIES] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [INSERT] = "INSERT INTO keys (name, user, created, expires, hash)"
               " VALUES (:name, :user, :now, 0, :hash)",
    [COUNT_LIVE] = "SELECT count(*) FROM keys WHERE name = :name AND " IS_LIVE,
    [COUNT_ALL] = "SELECT count(*) FROM keys WHERE " IS_LIVE,
    /* As many as may be live stay, to explain why such a key is refused. */
    [DELETE_EXPIRED] =
        "DELETE FROM keys WHERE name = :name AND NOT " IS_LIVE " AND id NOT IN"
        " (SELECT id FROM keys WHERE name = :name AND NOT " IS_LIVE " ORDER BY id DESC LIMIT 16)",
    [REVOKE_NAME] = "UPDATE keys SET expires = :revoked WHERE name = :name AND expires >= 0",
    [SET_GRACE] = "UPDATE keys SET expires = :until"
                  " WHERE name = :name AND (expires = 0 OR expires > :until)",
    [LIST] = "SELECT id, name, user, created, expires, hash FROM keys WHERE " IS_LIVE
             " ORDER BY name, created, id",
    [FIND_HASH] = "SELECT id, name, hash, user, expires FROM keys WHERE hash = :hash",
    /* Answered by the index alone, which is searched the same way for every name. */
    [KNOWS_NAME] = "SELECT EXISTS (SELECT 1 FROM keys WHERE name = :name)",
    [FIND_ID] = "SELECT 1 FROM keys WHERE id = :id AND " IS_LIVE,
    [DATA_VERSION] = "PRAGMA data_version",
    [NEXT_EXPIRY] = "SELECT min(expires) FROM keys WHERE expires > :now",
};

struct store {
    sqlite3 *database;
    sqlite3_stmt *statements[QUERIES]; /* prepared when first used */
    char path[PATH_MAX];
    char message[MESSAGE_SIZE];
};

static int fail(struct store *store)
{
    const char *advice = "";
    switch (sqlite3_errcode(store->database)) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        advice = "; it is damaged or no culvert store: restore it, or move it away to begin anew";
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        advice = "; its directory and file must be writable for this user";
        break;
    case SQLITE_BUSY:
        advice = "; another process holds it";
        break;
    default:
        break;
    }
    snprintf(store->message, sizeof store->message, "the store %s: %s%s", store->path,
             sqlite3_errmsg(store->database), advice);
    return CULVERT_ERROR_STORE;
}

static int fail_with(struct store *store, const char *reason)
{
    snprintf(store->message, sizeof store->message, "the store %s: %s", store->path, reason);
    return CULVERT_ERROR_STORE;
}

const char *store_message(const struct store *store)
{
    return store->message;
}

static int prepare(struct store *store, enum query query, sqlite3_stmt **statement)
{
    if (store->statements[query] == NULL &&
        sqlite3_prepare_v3(store->database, QUERY_TEXTS[query], -1, SQLITE_PREPARE_PERSISTENT,
                           &store->statements[query], NULL) != SQLITE_OK)
        return fail(store);
    *statement = store->statements[query];
    return 0;
}

/* What is bound stays the caller's until the statement is reset. */
static void bind_text(sqlite3_stmt *statement, const char *parameter, const char *value)
{
    int index = sqlite3_bind_parameter_index(statement, parameter);
    sqlite3_bind_text(statement, index, value, -1, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *statement, const char *parameter, int64_t value)
{
    int index = sqlite3_bind_parameter_index(statement, parameter);
    sqlite3_bind_int64(statement, index, value);
}

static void bind_hash(sqlite3_stmt *statement, const uint8_t *hash)
{
    int index = sqlite3_bind_parameter_index(statement, ":hash");
    sqlite3_bind_blob(statement, index, hash, STORE_HASH_SIZE, SQLITE_STATIC);
}

/* Runs a statement that gives at most one number, and resets it. Returns 1 with the number, 0 if
 * there was none, or an error. */
static int finish(struct store *store, sqlite3_stmt *statement, int64_t *number)
{
    int result = 0;
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        result = sqlite3_column_type(statement, 0) == SQLITE_NULL ? 0 : 1;
        if (number != NULL)
            *number = sqlite3_column_int64(statement, 0);
        break;
    case SQLITE_DONE:
        break;
    default:
        result = fail(store);
        break;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

static int run(struct store *store, enum query query)
{
    sqlite3_stmt *statement = NULL;
    int error = prepare(store, query, &statement);
    return error != 0 ? error : finish(store, statement, NULL);
}

/* A statement whose parameters are a name and a time, under whichever name the time goes. */
static int run_for_name(struct store *store, enum query query, const char *name,
                        const char *time_parameter, int64_t time, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    int error = prepare(store, query, &statement);
    if (error != 0)
        return error;
    bind_text(statement, ":name", name);
    if (time_parameter != NULL)
        bind_number(statement, time_parameter, time);
    error = finish(store, statement, number);
    return error < 0 ? error : 0;
}

/* Ends a transaction that was begun: commits, or rolls back where there is an error or the commit
 * fails. */
static int end_transaction(struct store *store, int error)
{
    if (error == 0)
        error = run(store, COMMIT);
    if (error != 0 && sqlite3_get_autocommit(store->database) == 0) {
        /* What failed first is what is told. */
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    }
    return error;
}

/* Never NULL, as SQLite's own is when memory has run out. */
static const char *column_text(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text == NULL ? "" : text;
}

static int execute(struct store *store, const char *text)
{
    return sqlite3_exec(store->database, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(store);
}

/* The first column of the first row as a number and as text (`text` may be NULL). */
static int ask(struct store *store, const char *query, int64_t *number, char *text, size_t size)
{
    sqlite3_stmt *statement = NULL;
    int error = 0;
    if (sqlite3_prepare_v2(store->database, query, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        error = fail(store);
        goto out;
    }
    *number = sqlite3_column_int64(statement, 0);
    if (text != NULL)
        snprintf(text, size, "%s", column_text(statement, 0));
out:
    sqlite3_finalize(statement);
    return error;
}

static int make_schema(struct store *store)
{
    int64_t tables = 0;
    int error = execute(store, "BEGIN IMMEDIATE");
    if (error != 0)
        return error;
    error = ask(store, "SELECT count(*) FROM sqlite_schema", &tables, NULL, 0);
    if (error == 0 && tables > 0)
        error = fail_with(store, "it is a database of another program");
    if (error == 0)
        error = execute(store, SCHEMA);
    return end_transaction(store, error);
}

static int check_schema(struct store *store)
{
    int64_t version = 0;
    int64_t application = 0;
    int error = ask(store, "PRAGMA user_version", &version, NULL, 0);
    if (error == 0)
        error = ask(store, "PRAGMA application_id", &application, NULL, 0);
    if (error != 0)
        return error;
    if (version == 0 && application == 0)
        return make_schema(store);
    if (application != APPLICATION_ID)
        return fail_with(store, "it is a database of another program");
    if (version != SCHEMA_VERSION)
        return fail_with(store, "it was written by a newer culvert; update this one");
    return 0;
}

static int open_database(struct store *store)
{
    int64_t ignored;
    char mode[16];
    /* One thread at a time uses a connection, so it needs no mutex of its own. */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(store->path, &store->database, flags, NULL) != SQLITE_OK)
        return store->database == NULL ? CULVERT_ERROR_NO_MEMORY : fail(store);
    sqlite3_busy_timeout(store->database, BUSY_MILLISECONDS);
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    int error = execute(store, SETTINGS);
    if (error == 0)
        error = ask(store, "PRAGMA journal_mode = WAL", &ignored, mode, sizeof mode);
    if (error == 0 && strcmp(mode, "wal") != 0)
        error = fail_with(store, "this file system cannot hold it (no write-ahead log)");
    return error != 0 ? error : check_schema(store);
}

int store_open(const char *directory, struct store **out, char *why, size_t why_size)
{
    int lock = -1;
    struct store *store = memory_allocate_zero(sizeof *store);
    if (store == NULL) {
        snprintf(why, why_size, "no memory for the store");
        return CULVERT_ERROR_NO_MEMORY;
    }
    int error = file_prepare(directory, store->path, &lock, why, why_size);
    if (error != 0)
        goto out;
    error = open_database(store);
    close(lock);
    if (error != 0)
        snprintf(why, why_size, "%s",
                 store->message[0] != '\0' ? store->message : error_text(error));
out:
    if (error != 0) {
        store_close(store);
        return error;
    }
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < QUERIES; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
    memory_free(store);
}

static int check_names(struct store *store, const char *name, const char *user)
{
    bool is_good = str_is_agent_name(text_of(name)) && strlen(user) < STORE_NAME_SIZE;
    for (const char *c = user; is_good && *c != '\0'; c++)
        is_good = (unsigned char)*c >= ' ' && *c != 0x7f;
    if (is_good)
        return 0;
    fail_with(store, "that name or user cannot be");
    return CULVERT_ERROR_INVALID;
}

static int insert(struct store *store, const char *name, const char *user, int64_t now,
                  char key[static STORE_KEY_TEXT_SIZE])
{
    sqlite3_stmt *statement = NULL;
    uint8_t hash[STORE_HASH_SIZE];
    int error = secret_make(key, hash);
    if (error != 0) {
        fail_with(store, "the system gave no random numbers");
        return error;
    }
    error = prepare(store, INSERT, &statement);
    if (error != 0)
        return error;
    bind_text(statement, ":name", name);
    bind_text(statement, ":user", user);
    bind_number(statement, ":now", now);
    bind_hash(statement, hash);
    return finish(store, statement, NULL);
}

/* How many live keys the name has; the others are removed. Inside a transaction. */
static int sweep(struct store *store, const char *name, int64_t now, int64_t *live)
{
    int error = run_for_name(store, DELETE_EXPIRED, name, ":now", now, NULL);
    return error != 0 ? error : run_for_name(store, COUNT_LIVE, name, ":now", now, live);
}

int store_add(struct store *store, const char *name, const char *user, int64_t now,
              char key[static STORE_KEY_TEXT_SIZE])
{
    int64_t live = 0;
    int error = check_names(store, name, user);
    if (error == 0)
        error = run(store, BEGIN);
    if (error != 0)
        return error;
    error = sweep(store, name, now, &live);
    if (error == 0 && live > 0) {
        fail_with(store, "the name has a key");
        error = CULVERT_ERROR_EXISTS;
    }
    if (error == 0)
        error = insert(store, name, user, now, key);
    return end_transaction(store, error);
}

static int user_of(struct store *store, const char *name, char user[static STORE_NAME_SIZE])
{
    sqlite3_stmt *statement = NULL;
    int error = 0;
    if (sqlite3_prepare_v2(store->database,
                           "SELECT user FROM keys WHERE name = :name ORDER BY id DESC LIMIT 1", -1,
                           &statement, NULL) != SQLITE_OK) {
        error = fail(store);
        goto out;
    }
    bind_text(statement, ":name", name);
    if (sqlite3_step(statement) != SQLITE_ROW) {
        error = fail(store);
        goto out;
    }
    snprintf(user, STORE_NAME_SIZE, "%s", column_text(statement, 0));
out:
    sqlite3_finalize(statement);
    return error;
}

int store_rotate(struct store *store, const char *name, int64_t now, int64_t grace,
                 char key[static STORE_KEY_TEXT_SIZE])
{
    int64_t live = 0;
    char user[STORE_NAME_SIZE];
    int64_t until = grace > INT64_MAX - now ? INT64_MAX : now + grace;
    int error = run(store, BEGIN);
    if (error != 0)
        return error;
    error = sweep(store, name, now, &live);
    if (error == 0 && live == 0) {
        fail_with(store, "the name has no key");
        error = CULVERT_ERROR_NOT_FOUND;
    } else if (error == 0 && live >= STORE_KEYS_OF_NAME) {
        fail_with(store, "the name has too many keys; wait until the older ones expire");
        error = CULVERT_ERROR_LIMIT;
    }
    if (error == 0)
        error = user_of(store, name, user);
    if (error == 0)
        error = run_for_name(store, SET_GRACE, name, ":until", until, NULL);
    if (error == 0)
        error = insert(store, name, user, now, key);
    return end_transaction(store, error);
}

int store_revoke(struct store *store, const char *name)
{
    int error = run_for_name(store, REVOKE_NAME, name, ":revoked", REVOKED, NULL);
    if (error != 0)
        return error;
    if (sqlite3_changes(store->database) > 0)
        return 0;
    fail_with(store, "the name has no key");
    return CULVERT_ERROR_NOT_FOUND;
}

static void read_row(sqlite3_stmt *statement, struct store_key *key)
{
    *key = (struct store_key){0};
    key->id = sqlite3_column_int64(statement, 0);
    snprintf(key->name, sizeof key->name, "%s", column_text(statement, 1));
    snprintf(key->user, sizeof key->user, "%s", column_text(statement, 2));
    key->created = sqlite3_column_int64(statement, 3);
    key->expires = sqlite3_column_int64(statement, 4);
    const void *hash = sqlite3_column_blob(statement, 5);
    if (hash != NULL && sqlite3_column_bytes(statement, 5) == STORE_HASH_SIZE)
        memcpy(key->hash, hash, STORE_HASH_SIZE);
}

int store_list(struct store *store, int64_t now,
               void (*each)(void *context, const struct store_key *key), void *context)
{
    sqlite3_stmt *statement = NULL;
    int step;
    int error = prepare(store, LIST, &statement);
    if (error != 0)
        return error;
    bind_number(statement, ":now", now);
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_key key;
        read_row(statement, &key);
        each(context, &key);
    }
    if (step != SQLITE_DONE)
        error = fail(store);
    sqlite3_reset(statement);
    return error;
}

/* Looked up by the hash, not by the name: without a key that is in the store the search goes the
 * same way for every name, and what the index's comparisons could tell of a stored hash does not
 * help to find a key of 256 random bits. */
static bool read_match(sqlite3_stmt *statement, const uint8_t *hash)
{
    const uint8_t *found = sqlite3_column_blob(statement, 2);
    return found != NULL && sqlite3_column_bytes(statement, 2) == STORE_HASH_SIZE &&
           secret_equals(found, hash);
}

/* Judges the row with the key's hash. */
static int judge_row(struct store *store, sqlite3_stmt *statement, const char *name, int64_t now,
                     struct store_finding *finding)
{
    const char *user = (const char *)sqlite3_column_text(statement, 3);
    int64_t expires = sqlite3_column_int64(statement, 4);
    if (user == NULL)
        return fail(store);
    if (strcmp(column_text(statement, 1), name) != 0) {
        finding->denial = STORE_KEY_OF_OTHER;
        return CULVERT_ERROR_REFUSED;
    }
    if (expires != 0 && expires <= now) {
        finding->denial = expires == REVOKED ? STORE_KEY_REVOKED : STORE_KEY_EXPIRED;
        return CULVERT_ERROR_REFUSED;
    }
    finding->id = sqlite3_column_int64(statement, 0);
    snprintf(finding->user, sizeof finding->user, "%s", user);
    return 0;
}

/* Explains why a key that is not in the store is refused. */
static int explain_unknown(struct store *store, const char *name, size_t key_size,
                           struct store_finding *finding)
{
    int64_t is_known = 0;
    int error = run_for_name(store, KNOWS_NAME, name, NULL, 0, &is_known);
    if (error != 0)
        return error;
    finding->denial = key_size == 0   ? STORE_KEY_MISSING
                      : is_known != 0 ? STORE_KEY_UNKNOWN
                                      : STORE_NAME_UNKNOWN;
    return CULVERT_ERROR_REFUSED;
}

int store_check(struct store *store, const char *name, const char *key, size_t key_size,
                int64_t now, struct store_finding *finding)
{
    sqlite3_stmt *statement = NULL;
    uint8_t hash[STORE_HASH_SIZE];
    int error = prepare(store, FIND_HASH, &statement);
    if (error != 0)
        return error;
    secret_hash(key, key_size, hash);
    bind_hash(statement, hash);
    int step = sqlite3_step(statement);
    bool is_found = step == SQLITE_ROW && read_match(statement, hash);
    if (is_found)
        error = judge_row(store, statement, name, now, finding);
    else if (step != SQLITE_ROW && step != SQLITE_DONE)
        error = fail(store);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return is_found || error != 0 ? error : explain_unknown(store, name, key_size, finding);
}

int store_count(struct store *store, int64_t now, int64_t *count)
{
    sqlite3_stmt *statement = NULL;
    int error = prepare(store, COUNT_ALL, &statement);
    if (error != 0)
        return error;
    bind_number(statement, ":now", now);
    error = finish(store, statement, count);
    return error < 0 ? error : 0;
}

int store_is_live(struct store *store, int64_t id, int64_t now)
{
    sqlite3_stmt *statement = NULL;
    int error = prepare(store, FIND_ID, &statement);
    if (error != 0)
        return error;
    bind_number(statement, ":id", id);
    bind_number(statement, ":now", now);
    return finish(store, statement, NULL);
}

int store_version(struct store *store, int64_t *version)
{
    sqlite3_stmt *statement = NULL;
    int64_t others = 0;
    int has_moved = 0;
    if (sqlite3_file_control(store->database, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) ==
            SQLITE_OK &&
        has_moved != 0)
        return fail_with(store, "its file was moved or removed");
    int error = prepare(store, DATA_VERSION, &statement);
    if (error != 0)
        return error;
    error = finish(store, statement, &others);
    if (error < 0)
        return error;
    /* data_version tells of other connections' changes, total_changes of our own. */
    uint64_t own = (uint64_t)sqlite3_total_changes64(store->database) & UINT32_MAX;
    *version = (int64_t)((uint64_t)others << 32 | own);
    return 0;
}

int store_next_expiry(struct store *store, int64_t now, int64_t *when)
{
    sqlite3_stmt *statement = NULL;
    int error = prepare(store, NEXT_EXPIRY, &statement);
    if (error != 0)
        return error;
    bind_number(statement, ":now", now);
    error = finish(store, statement, when);
    if (error == 0)
        *when = INT64_MAX;
    return error < 0 ? error : 0;
}
