/* IS_SANITIZED is defined in a build with a sanitizer, which takes more memory, and whose leak
 * checker inspects the process from another one. */
#ifndef LUA_SANITIZED_H
#define LUA_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

#endif
