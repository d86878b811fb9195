/* result_csv.h - a results file as one long table, a row per clip and number (RFC 4180). */
#ifndef LK_RESULT_CSV_H
#define LK_RESULT_CSV_H

#include "av/result_json.h"

#include <stdio.h>

/* clip,group,pair,status,name,value,lo,hi,chance,p,n,unit,reason; what is absent is empty. */
LK_CHECKED lk_status lk_result_csv_write(const char *path, const lk_result_list *list);

/* LK_E_IO when no such file can be written: the table comes last, its trouble should come first. */
LK_CHECKED lk_status lk_result_csv_check(const char *path);

#endif /* LK_RESULT_CSV_H */
