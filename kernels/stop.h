/* stop.h - the first SIGINT or SIGTERM asks for a clean stop, the second ends the program at once.
 */
#ifndef LK_STOP_H
#define LK_STOP_H

/* From now on signals set the flag. */
void lk_stop_on_signals(void);

/* Not 0 once a stop was asked for. */
const volatile int *lk_stop_flag(void);

#endif /* LK_STOP_H */
