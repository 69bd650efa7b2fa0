#include "cli/test_output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <cmocka.h>

static FILE *stream_of(int index)
{
    return index == 0 ? stdout : stderr;
}

static void begin(struct test_output *output, FILE *out)
{
    FILE *files[] = {out, tmpfile()};
    for (int i = 0; i < 2; i++) {
        assert_non_null(files[i]);
        fflush(stream_of(i));
        output->files[i] = files[i];
        output->before[i] = dup(fileno(stream_of(i)));
        assert_true(output->before[i] >= 0);
        assert_true(dup2(fileno(files[i]), fileno(stream_of(i))) >= 0);
    }
}

void test_output_begin(struct test_output *output)
{
    begin(output, tmpfile());
}

void test_output_begin_full(struct test_output *output)
{
    begin(output, fopen("/dev/full", "r+"));
}

void test_output_end(struct test_output *output)
{
    char *texts[] = {output->out, output->err};
    for (int i = 0; i < 2; i++) {
        fflush(stream_of(i));
        __fpurge(stream_of(i)); /* the output that the full device did not take */
        clearerr(stream_of(i));
        assert_true(dup2(output->before[i], fileno(stream_of(i))) >= 0);
        close(output->before[i]);
        rewind(output->files[i]);
        texts[i][fread(texts[i], 1, sizeof output->out - 1, output->files[i])] = '\0';
        fclose(output->files[i]);
    }
}
