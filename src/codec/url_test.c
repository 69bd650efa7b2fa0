#include "codec/url.h"

#include "base/error.h"
#include "codec/url_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *string, *scheme, *host;
    uint16_t port;
    const char *target, *host_field;
    bool is_secure, is_ipv6, is_loopback;
} good_urls[] = {
    {"ws://host", "ws", "host", 80, "/", "host", false, false, false},
    {"wss://host", "wss", "host", 443, "/", "host", true, false, false},
    {"ws://host:8080", "ws", "host", 8080, "/", "host:8080", false, false, false},
    {"ws://host:443", "ws", "host", 443, "/", "host:443", false, false, false},
    {"wss://host:80/", "wss", "host", 80, "/", "host:80", true, false, false},
    {"wss://host:443/", "wss", "host", 443, "/", "host", true, false, false},
    {"WSS://Gate.Example.ORG:65535/A/b?C=d%20e&f", "wss", "gate.example.org", 65535,
     "/A/b?C=d%20e&f", "gate.example.org:65535", true, false, false},
    {"ws://host?q", "ws", "host", 80, "/?q", "host", false, false, false},
    {"ws://host:1?q=a@b:c/", "ws", "host", 1, "/?q=a@b:c/", "host:1", false, false, false},
    {"ws://host//twice", "ws", "host", 80, "//twice", "host", false, false, false},
    {"ws://localhost:8080", "ws", "localhost", 8080, "/", "localhost:8080", false, false, true},
    {"ws://LOCALHOST", "ws", "localhost", 80, "/", "localhost", false, false, true},
    {"ws://localhost.example", "ws", "localhost.example", 80, "/", "localhost.example", false,
     false, false},
    {"ws://127.0.0.1:1", "ws", "127.0.0.1", 1, "/", "127.0.0.1:1", false, false, true},
    {"ws://127.255.255.255", "ws", "127.255.255.255", 80, "/", "127.255.255.255", false, false,
     true},
    {"ws://128.0.0.1", "ws", "128.0.0.1", 80, "/", "128.0.0.1", false, false, false},
    {"ws://127.0.0.1.example", "ws", "127.0.0.1.example", 80, "/", "127.0.0.1.example", false,
     false, false},
    {"ws://[::1]", "ws", "::1", 80, "/", "[::1]", false, true, true},
    {"ws://[0:0:0:0:0:0:0:1]:8080/x", "ws", "0:0:0:0:0:0:0:1", 8080, "/x", "[0:0:0:0:0:0:0:1]:8080",
     false, true, true},
    {"wss://[2001:DB8::1]:8443?x", "wss", "2001:db8::1", 8443, "/?x", "[2001:db8::1]:8443", true,
     true, false},
    {"ws://azAZ09:9/%09%afFA%AFf0", "ws", "azaz09", 9, "/%09%afFA%AFf0", "azaz09:9", false, false,
     false},
    {"ws://my_gate-1.internal", "ws", "my_gate-1.internal", 80, "/", "my_gate-1.internal", false,
     false, false},
    {"poll+http://host", "poll+http", "host", 80, "/", "host", false, false, false},
    {"poll+https://host/p?q", "poll+https", "host", 443, "/p?q", "host", true, false, false},
    {"Poll+HTTPS://[::1]:80", "poll+https", "::1", 80, "/", "[::1]:80", true, true, true},
    {"poll+http://127.0.0.1:8080", "poll+http", "127.0.0.1", 8080, "/", "127.0.0.1:8080", false,
     false, true},
};

static void test_good_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good_urls) / sizeof(good_urls[0]); i++) {
        struct url url;
        char why[300] = "", field[300];
        if (url_parse(good_urls[i].string, &url, why, sizeof(why)) != 0)
            fail_msg("%s", why);
        assert_string_equal(url.scheme, good_urls[i].scheme);
        assert_string_equal(url.host, good_urls[i].host);
        assert_int_equal(url.port, good_urls[i].port);
        assert_string_equal(url.target, good_urls[i].target);
        assert_int_equal(url.is_secure, good_urls[i].is_secure);
        assert_int_equal(url.is_poll, strncmp(url.scheme, "poll+", 5) == 0);
        assert_int_equal(url.is_ipv6, good_urls[i].is_ipv6);
        assert_int_equal(url.is_loopback, good_urls[i].is_loopback);
        assert_int_equal(url_host_field(&url, field, sizeof(field)), 0);
        assert_string_equal(field, good_urls[i].host_field);
        size_t size = strlen(field);
        assert_int_equal(url_host_field(&url, field, size + 1), 0);
        assert_int_equal(url_host_field(&url, field, size), CULVERT_ERROR_TOO_LARGE);
    }
}

/* The whole sentence where it is a pleasure to read, else a part that names what is wrong. */
static const struct {
    const char *string, *why;
} bad_urls[] = {
    {"", "the URL is empty; it should look like ws://host:8080"},
    {"ws:/host", "ws:/host: two slashes must follow ws: (as in ws://host:8080)"},
    {"wss:/host", "wss:/host: two slashes must follow wss: (as in wss://host:8080)"},
    {"ws:host", "two slashes must follow ws:"},
    {"ws:", "two slashes must follow ws:"},
    {"ws:\\\\host", "two slashes must follow ws:"},
    {"ws//host", "ws//host: a colon must follow ws (as in ws://host:8080)"},
    {"wss/host", "a colon must follow wss"},
    {"ws", "must begin with ws:// or wss://"},
    {"http://", "the scheme must be ws or wss; instead of http write ws"},
    {"https://host", "instead of https write wss (as in wss://host:8080)"},
    {"https://host", "or poll+https for long poll"},
    {"http://host", "or poll+http for long poll"},
    {"poll+http:/host", "two slashes must follow poll+http: (as in poll+http://host:8080)"},
    {"poll+https//host", "a colon must follow poll+https"},
    {"poll+https:///host", "the host is missing"},
    {"poll+ws://host", "the scheme must be ws or wss"},
    {"poll+://host", "the scheme must be ws or wss"},
    {"poll://host", "the scheme must be ws or wss"},
    {"poll+http://u:p@host", "a user name or password"},
    {"ftp://host", "ftp://host: the scheme must be ws or wss (as in ws://host:8080)"},
    {"wsx://host", "the scheme must be ws or wss"},
    {"host", "host: a URL must begin with ws:// or wss:// (as in ws://host:8080)"},
    {"host:8080", "must begin with ws:// or wss://"},
    {"//host", "must begin with ws:// or wss://"},
    {"://host", "must begin with ws:// or wss://"},
    {"127.0.0.1:8080", "must begin with ws:// or wss://"},
    {"[::1]:8080", "must begin with ws:// or wss://"},
    {"ws://", "the host is missing"},
    {"ws:///", "the host is missing"},
    {"ws:///host", "ws:///host: the host is missing: it must follow the two slashes"},
    {"ws://:8080", "the host is missing"},
    {"ws://?q", "the host is missing"},
    {"ws://host:", "a port must follow the colon"},
    {"ws://host:/", "a port must follow the colon"},
    {"ws://host:0", "ws://host:0: the port must be a number from 1 to 65535"},
    {"ws://host:65536", "the port must be a number from 1 to 65535"},
    {"ws://host:99999999999999999999", "the port must be a number"},
    {"ws://host:-1", "the port must be a number"},
    {"ws://host:+1", "the port must be a number"},
    {"ws://host:http", "the port must be a number"},
    {"ws://host:80x/", "the port must be a number"},
    {"ws://::1", "an IPv6 address must stand in brackets (as in ws://[::1]:8080)"},
    {"ws://::1:8080", "must stand in brackets"},
    {"ws://host:80:80", "must stand in brackets"},
    {"ws://[::1", "is not closed"},
    {"ws://[", "is not closed"},
    {"ws://[]", "[] is not an IPv6 address"},
    {"ws://[::1]8080", "only a colon and a port may follow the bracket"},
    {"ws://[::1]:", "a port must follow the colon"},
    {"ws://[::1]:0", "the port must be a number"},
    {"ws://[host]", "[host] is not an IPv6 address"},
    {"ws://[127.0.0.1]", "[127.0.0.1] is not an IPv6 address"},
    {"ws://[fe80::1%25eth0]", "a zone"},
    {"ws://ho st", "ws://ho st: there must be no spaces in a URL"},
    {" ws://host", "no spaces"},
    {"ws://host ", "no spaces"},
    {"ws://ho\tst", "ws://ho?st: there must be no control characters in a URL"},
    {"ws://host\n", "no control characters"},
    {"ws://host/\x7f", "no control characters"},
    {"ws://h\xc3\xb6st", "a URL is ASCII"},
    {"ws://host#top", "a fragment"},
    {"ws://host/#", "a fragment"},
    {"ws://user@host", "ws://...@host: a user name or password cannot stand in the URL"},
    {"ws://@host", "a user name or password"},
    {"ws://host:80@other", "a user name or password"},
    {"ws://-host", "-host is not a host name"},
    {"ws://host-", "is not a host name"},
    {"ws://a..b", "is not a host name"},
    {"ws://.a", "is not a host name"},
    {"ws://a.", "is not a host name"},
    {"ws://a,b", "is not a host name"},
    {"ws://a%20b", "is not a host name"},
    {"ws://host\\path", "is not a host name"},
    {"ws://127.1", "127.1 is not an IPv4 address"},
    {"ws://2130706433", "is not an IPv4 address"},
    {"ws://127.0.0.01", "is not an IPv4 address"},
    {"ws://127.0.0.256", "is not an IPv4 address"},
    {"ws://1.2.3.4.5", "is not an IPv4 address"},
    {"ws://host.1", "is not an IPv4 address"},
    {"ws://host/a\"b", "the character \" in the path must be written as %22"},
    {"ws://host/a\\b", "the character \\ in the path must be written as %5C"},
    {"ws://host/?{}", "the character { in the path must be written as %7B"},
    {"ws://host/%", "two hexadecimal digits must follow a %"},
    {"ws://host/%2", "two hexadecimal digits"},
    {"ws://host/%2g", "two hexadecimal digits"},
};

static void test_bad_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_urls) / sizeof(bad_urls[0]); i++) {
        struct url url, before;
        char why[400] = "";
        memset(&url, 0x5a, sizeof(url));
        before = url;
        assert_int_equal(url_parse(bad_urls[i].string, &url, why, sizeof(why)),
                         CULVERT_ERROR_INVALID);
        if (strstr(why, bad_urls[i].why) == NULL)
            fail_msg("%s: says \"%s\", not \"%s\"", bad_urls[i].string, why, bad_urls[i].why);
        assert_memory_equal(&url, &before, sizeof(url));
    }
}

static void test_passwords_are_not_repeated(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "ws://user:secret@host",  "ws:/user:secret@host", "ws://a b:secret@host",
        "http://u:secret@h",      "ws//u:secret@host",    "ws://user:secret/x@host",
        "ws://secret@host:0",     "ws://u:p@secret@host", "u:secret@host",
        "ws://user:secret@host#", "ws://u:@@secret@h",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct url url;
        char why[400] = "";
        assert_int_equal(url_parse(urls[i], &url, why, sizeof(why)), CULVERT_ERROR_INVALID);
        if (strstr(why, "secret") != NULL)
            fail_msg("%s", why);
    }
}

static int parse_long(const char *before, char filler, size_t count, const char *after)
{
    char string[3000], why[60];
    struct url url;
    size_t size = strlen(before);
    memcpy(string, before, size);
    memset(string + size, filler, count);
    snprintf(string + size + count, sizeof(string) - size - count, "%s", after);
    memset(why, 0x5a, sizeof(why));
    int result = url_parse(string, &url, why, sizeof(why));
    if (result != 0)
        assert_non_null(memchr(why, '\0', sizeof(why)));
    return result;
}

static void test_limits(void **state)
{
    (void)state;
    char labels[5 + 3 * 64 + 1]; /* three of the longest labels */
    memset(labels, 'a', sizeof(labels));
    memcpy(labels, "ws://", 5);
    labels[5 + 63] = labels[5 + 127] = labels[5 + 191] = '.';
    labels[5 + 192] = '\0';
    assert_int_equal(parse_long("ws://", 'a', 63, ""), 0);
    assert_int_equal(parse_long("ws://", 'a', 64, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long(labels, 'a', 61, ""), 0); /* 253 characters */
    assert_int_equal(parse_long(labels, 'a', 62, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://host/", 'a', 1022, ""), 0);
    assert_int_equal(parse_long("ws://host/", 'a', 1023, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://host?", 'a', 1021, ""), 0);
    assert_int_equal(parse_long("ws://host?", 'a', 1022, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://host:", '9', 2000, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://[", ':', 2000, "]"), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://", ':', 2000, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("ws://", '@', 2000, ""), CULVERT_ERROR_INVALID);
    assert_int_equal(parse_long("", 'w', 2000, "://"), CULVERT_ERROR_INVALID);
}

static void test_no_room_for_why(void **state)
{
    (void)state;
    struct url url;
    char why[2] = "xy";
    assert_int_equal(url_parse("ws:/host", &url, why, 1), CULVERT_ERROR_INVALID);
    assert_int_equal(why[0], '\0');
    assert_int_equal(why[1], 'y');
    assert_int_equal(url_parse("ws:/host", &url, NULL, 0), CULVERT_ERROR_INVALID);
}

static void test_ipv6_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *string;
        const char *bytes;
    } good[] = {
        {"::", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"},
        {"::1", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"},
        {"1::", "\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0"},
        {"1:2:3:4:5:6:7:8", "\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0\10"},
        {"1:2:3:4:5:6:7::", "\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0\0"},
        {"::2:3:4:5:6:7:8", "\0\0\0\2\0\3\0\4\0\5\0\6\0\7\0\10"},
        {"fe80::abCD:1", "\xfe\x80\0\0\0\0\0\0\0\0\0\0\xab\xcd\0\1"},
        {"::ffff:127.0.0.1", "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"},
        {"1:2:3:4:5:6:1.2.3.4", "\0\1\0\2\0\3\0\4\0\5\0\6\1\2\3\4"},
        {"9:0:A:F:a:f::", "\0\x09\0\0\0\x0a\0\x0f\0\x0a\0\x0f\0\0\0\0"},
        {"::1.2.3.4", "\0\0\0\0\0\0\0\0\0\0\0\0\1\2\3\4"},
    };
    static const char *const bad[] = {
        "",
        ":",
        ":::",
        "1",
        "1:",
        ":1",
        "1::2::3",
        "12345::",
        "g::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "::1.2.3",
        "::1.2.3.4:5",
        "1.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::256.0.0.1",
        "1:::2",
        "1::2:",
        "::1 ",
        "0x1::",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint8_t address[16];
        if (!url_parse_ipv6(text_of(good[i].string), address))
            fail_msg("refused: %s", good[i].string);
        assert_memory_equal(address, good[i].bytes, 16);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t address[16];
        if (url_parse_ipv6(text_of(bad[i]), address))
            fail_msg("not refused: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_urls),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_passwords_are_not_repeated),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_room_for_why),
        cmocka_unit_test(test_ipv6_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
