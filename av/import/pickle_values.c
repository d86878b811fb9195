/* pickle_values.c - see pickle.h: the values a pickle leaves behind. */
#include "av/import/pickle.h"

#include "kernels/mem.h"

#include <string.h>

lk_status lk_pickle_new(lk_pickle *p, lk_pickle_kind kind, lk_ref *ref)
{
    lk_status st = LK_OK;
    *ref = 0;
    LK_TRY(LK_GROW(&p->at, &p->room, p->n + 1));
    p->at[p->n].kind = kind;
    *ref = (lk_ref)p->n++;
done:
    return st;
}

lk_status lk_pickle_push_item(lk_pickle_value *list, lk_ref item)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&list->list.item, &list->list.room, list->list.n + 1));
    list->list.item[list->list.n++] = item;
done:
    return st;
}

bool lk_pickle_is_text(const lk_pickle_value *v, const char *text)
{
    return v->kind == LK_PICKLE_TEXT && v->text.n == strlen(text) &&
           memcmp(v->text.bytes, text, v->text.n) == 0;
}

const lk_pickle_value *lk_pickle_get(const lk_pickle *p, const lk_pickle_value *dict,
                                     const char *key)
{
    for (size_t i = 0; dict->kind == LK_PICKLE_DICT && i + 1 < dict->list.n; i += 2)
        if (lk_pickle_is_text(&p->at[dict->list.item[i]], key))
            return &p->at[dict->list.item[i + 1]];
    return NULL;
}

void lk_pickle_free(lk_pickle *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const lk_pickle_kind kind = p->at[i].kind;
        if (kind == LK_PICKLE_TUPLE || kind == LK_PICKLE_LIST || kind == LK_PICKLE_DICT)
            lk_free(p->at[i].list.item);
    }
    lk_free(p->at);
    memset(p, 0, sizeof *p);
}
