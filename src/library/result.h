/* From the errors and exit codes of the core to the codes of the library. */
#ifndef LIBRARY_RESULT_H
#define LIBRARY_RESULT_H

/* base/error.h */
int result_of_error(int error);
/* base/exit_code.h */
int result_of_exit_code(int code);

#endif
