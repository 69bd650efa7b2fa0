/* For tests: what is written to standard output and standard error between begin and end. */
#ifndef CLI_TEST_OUTPUT_H
#define CLI_TEST_OUTPUT_H

#include <stdio.h>

struct test_output {
    char out[4096];
    char err[4096];
    FILE *files[2];
    int before[2]; /* the descriptors that standard output and standard error had */
};

void test_output_begin(struct test_output *output);
/* Ends the capture; the output is in `out` and `err`, as strings. */
void test_output_end(struct test_output *output);

/* The same with a full device as standard output; `out` is then empty. */
void test_output_begin_full(struct test_output *output);

#endif
