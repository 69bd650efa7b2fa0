#include "net/tls_explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* With the system's authorities --ca may help; with others it has been given. */
static void test_advice(void **state)
{
    (void)state;
    char advice[128];
    tls_explain_advice(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, NULL, advice, sizeof(advice));
    assert_string_equal(advice, "; if it is the right one, give it with --ca FILE");
    tls_explain_advice(X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, NULL, advice, sizeof(advice));
    assert_string_equal(advice,
                        "; if it is the right one, give that CA's certificate with --ca FILE");
    tls_explain_advice(X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "a.pem", advice, sizeof(advice));
    assert_string_equal(advice, "; it is not signed by a CA in a.pem (--ca)");
    tls_explain_advice(X509_V_ERR_CERT_HAS_EXPIRED, "a.pem", advice, sizeof(advice));
    assert_string_equal(advice, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_advice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
