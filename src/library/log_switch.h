/* Where the log of a process that embeds culvert goes: the one thing that its handles share. */
#ifndef LIBRARY_LOG_SWITCH_H
#define LIBRARY_LOG_SWITCH_H

/* Takes the log over, once; before anything else of the library runs. */
void log_switch_init(void);

#endif
