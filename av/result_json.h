/* result_json.h - one clip's scores as one JSON line, and back.
 *
 *     {"clip","status","error","duration_s","container_offset_ms","group","pair",
 *      "scores":{NAME:{"value","ci95":[lo,hi],"chance","p","unit","n"}},
 *      "abstained":{NAME:REASON},"warnings":[],"provenance":{}}
 *
 * What is not available is null; NaN never comes out.  Numbers are printed with 12 significant
 * digits, keys in a fixed order, so equal results are equal bytes.  Curves do not travel here.
 */
#ifndef LK_RESULT_JSON_H
#define LK_RESULT_JSON_H

#include "av/result.h"

/* *line is a new text without the newline, freed by lk_free. */
LK_CHECKED lk_status lk_result_to_json(const lk_clip_result *result, char **line);

/* Fill a zeroed result.  LK_E_FORMAT when the text is not such an object. */
LK_CHECKED lk_status lk_result_from_json(const char *line, size_t bytes, lk_clip_result *result);

typedef struct lk_result_list {
    int64_t n;
    lk_clip_result *item;
} lk_result_list;

/* All lines of a file.  LK_E_FORMAT names the line; LK_E_IO when there is no such file. */
LK_CHECKED lk_status lk_result_list_read(const char *path, lk_result_list *list);
void lk_result_list_clear(lk_result_list *list);

#endif /* LK_RESULT_JSON_H */
