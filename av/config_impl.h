/* config_impl.h - the tree behind config.h, shared by config.c and config_yaml.c. */
#ifndef LK_CONFIG_IMPL_H
#define LK_CONFIG_IMPL_H

#include "av/config.h"

#include <stdbool.h>

#define LK_CONFIG_MAX_FILE  (1u << 20)
#define LK_CONFIG_MAX_DEPTH 32

typedef enum lk_config_kind { LK_CONFIG_SCALAR, LK_CONFIG_LIST, LK_CONFIG_MAPPING } lk_config_kind;

/* Where a value comes from, in place of a line number. */
enum { LK_CONFIG_FROM_SHELL = 0, LK_CONFIG_BY_DEFAULT = -1 };

typedef struct lk_config_node {
    lk_config_kind kind;
    int line;    /* from 1, or one of the above */
    char *key;   /* within a mapping, else NULL */
    char *text;  /* of a scalar */
    bool quoted; /* a scalar that is a text whatever it looks like */
    bool asked;
    struct lk_config_node **child;
    size_t n, capacity;
    void *handed_out; /* array of values made from this list */
} lk_config_node;

struct lk_config {
    char *name;
    lk_config_node *root;
};

void lk_config_node_free(lk_config_node *x);
LK_CHECKED lk_status lk_config_node_new(lk_config_node **out, lk_config_kind kind, int line,
                                        const char *text);

/* Append x under key (NULL in a list); takes x over, also on failure. */
LK_CHECKED lk_status lk_config_node_add(lk_config_node *parent, const char *key, lk_config_node *x);

/* Entry of a mapping by key, of a list by number; NULL when there is none. */
lk_config_node *lk_config_node_child(const lk_config_node *x, const char *key, size_t n);

/* A scalar that says nothing: empty, ~ or null without quotes. */
bool lk_config_is_null(const lk_config_node *x);

/* A failure that says where the value stands. */
lk_status lk_config_fail_at(const lk_config *c, const lk_config_node *x, lk_status code,
                            const char *sentence);

/* Leaves the function by its label `done`. */
#define LK_CONFIG_FAIL_AT(c, x, ...)                                                               \
    do {                                                                                           \
        char sentence_[400];                                                                       \
        snprintf(sentence_, sizeof sentence_, __VA_ARGS__);                                        \
        st = lk_config_fail_at((c), (x), LK_E_ARG, sentence_);                                     \
        goto done;                                                                                 \
    } while (0)

/* One YAML document; *out stays NULL for an empty one. */
LK_CHECKED lk_status lk_config_read_yaml(const lk_config *c, const char *bytes, size_t n,
                                         bool from_shell, lk_config_node **out);

#endif /* LK_CONFIG_IMPL_H */
