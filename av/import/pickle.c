/* pickle.c - see pickle.h: the stack machine.
 *
 * Values live in one array and are referred to by index, so a list that holds itself is no danger.
 * An instruction makes at most one value and moves others, so memory stays proportional to the
 * pickle; memo numbers beyond its length are refused. */
#include "av/import/pickle.h"

#include "av/import/bytes.h"
#include "kernels/mem.h"

#include <string.h>

#define MARK UINT32_MAX

typedef struct machine {
    lk_pickle *p;
    const uint8_t *b;
    size_t n, at;
    lk_ref *stack, *memo; /* memo entries are 1 + ref, 0 when unset */
    size_t n_stack, room_stack, room_memo, n_memoized;
} machine;

static lk_status push(machine *m, lk_ref r)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&m->stack, &m->room_stack, m->n_stack + 1));
    m->stack[m->n_stack++] = r;
done:
    return st;
}

static lk_status pop(machine *m, lk_ref *r)
{
    lk_status st = LK_OK;
    *r = 0;
    LK_REQUIRE(m->n_stack > 0 && m->stack[m->n_stack - 1] != MARK, LK_E_FORMAT,
               "the pickle takes more from its stack than it put there");
    *r = m->stack[--m->n_stack];
done:
    return st;
}

/* The value on top, which stays. */
static lk_status top(machine *m, lk_ref *r)
{
    lk_status st = LK_OK;
    *r = 0;
    LK_TRY(pop(m, r));
    m->n_stack++;
done:
    return st;
}

/* The stack from *first on is what was put there since the last mark; removes the mark's place by
 * leaving n_stack at it, the items stay readable until the next push. */
static lk_status pop_to_mark(machine *m, size_t *first, size_t *count)
{
    lk_status st = LK_OK;
    *first = *count = 0;
    size_t i = m->n_stack;
    while (i > 0 && m->stack[i - 1] != MARK)
        i--;
    LK_REQUIRE(i > 0, LK_E_FORMAT, "the pickle closes a list that it did not open");
    *first = i;
    *count = m->n_stack - i;
    m->n_stack = i - 1;
done:
    return st;
}

static lk_status take(machine *m, uint64_t n, const uint8_t **bytes)
{
    lk_status st = LK_OK;
    *bytes = NULL;
    LK_REQUIRE(n <= m->n - m->at, LK_E_FORMAT, "the pickle is cut off");
    *bytes = m->b + m->at;
    m->at += (size_t)n;
done:
    return st;
}

static lk_status take_number(machine *m, int bytes, uint64_t *value)
{
    lk_status st = LK_OK;
    *value = 0;
    const uint8_t *p;
    LK_TRY(take(m, (uint64_t)bytes, &p));
    *value = lk_le(p, bytes);
done:
    return st;
}

static lk_status take_line(machine *m, lk_pickle_text *line)
{
    lk_status st = LK_OK;
    *line = (lk_pickle_text){NULL, 0};
    const uint8_t *start = m->b + m->at;
    const uint8_t *end = m->at < m->n ? memchr(start, '\n', m->n - m->at) : NULL;
    LK_REQUIRE(end, LK_E_FORMAT, "the pickle is cut off");
    *line = (lk_pickle_text){(const char *)start, (size_t)(end - start)};
    m->at += line->n + 1;
done:
    return st;
}

static lk_status push_other(machine *m, const char *what)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(lk_pickle_new(m->p, LK_PICKLE_OTHER, &r));
    m->p->at[r].what = what;
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status push_int(machine *m, int64_t value)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(lk_pickle_new(m->p, LK_PICKLE_INT, &r));
    m->p->at[r].integer = value;
    LK_TRY(push(m, r));
done:
    return st;
}

/* A text of a length that stands before it in `bytes` bytes. */
static lk_status push_text(machine *m, int bytes)
{
    lk_status st = LK_OK;
    lk_ref r;
    uint64_t n;
    const uint8_t *text;
    LK_TRY(take_number(m, bytes, &n));
    LK_TRY(take(m, n, &text));
    LK_TRY(lk_pickle_new(m->p, LK_PICKLE_TEXT, &r));
    m->p->at[r].text = (lk_pickle_text){(const char *)text, (size_t)n};
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status push_bytes(machine *m, int length)
{
    lk_status st = LK_OK;
    uint64_t n;
    const uint8_t *bytes;
    LK_TRY(take_number(m, length, &n));
    LK_TRY(take(m, n, &bytes));
    LK_TRY(push_other(m, "bytes"));
done:
    return st;
}

/* Two's complement of any length; what needs more than 64 bits is of no use here. */
static lk_status push_long(machine *m, int length)
{
    lk_status st = LK_OK;
    uint64_t n, x;
    const uint8_t *bytes;
    LK_TRY(take_number(m, length, &n));
    LK_TRY(take(m, n, &bytes));
    if (n > 8)
        return push_other(m, "a large integer");
    x = lk_le(bytes, (int)n);
    if (n > 0 && n < 8 && bytes[n - 1] & 0x80)
        x |= UINT64_MAX << (8 * n);
    LK_TRY(push_int(m, (int64_t)x));
done:
    return st;
}

static lk_status push_container(machine *m, int kind)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(lk_pickle_new(m->p, (lk_pickle_kind)kind, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

/* The last `count` values of the stack, from `first` on, become a tuple in their place. */
static lk_status make_tuple(machine *m, size_t first, size_t count, size_t place)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(lk_pickle_new(m->p, LK_PICKLE_TUPLE, &r));
    for (size_t i = 0; i < count; i++)
        LK_TRY(lk_pickle_push_item(&m->p->at[r], m->stack[first + i]));
    m->n_stack = place;
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status tuple_of(machine *m, int n)
{
    lk_status st = LK_OK;
    const size_t count = (size_t)n;
    for (size_t i = 1; i <= count; i++)
        LK_REQUIRE(m->n_stack >= i && m->stack[m->n_stack - i] != MARK, LK_E_FORMAT,
                   "the pickle takes more from its stack than it put there");
    LK_TRY(make_tuple(m, m->n_stack - count, count, m->n_stack - count));
done:
    return st;
}

static lk_status tuple_to_mark(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    size_t first, count;
    LK_TRY(pop_to_mark(m, &first, &count));
    LK_TRY(make_tuple(m, first, count, m->n_stack));
done:
    return st;
}

/* Put `count` stack values from `first` on into the container below them. */
static lk_status fill(machine *m, size_t first, size_t count, lk_pickle_kind kind)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(top(m, &r));
    if (kind == LK_PICKLE_OTHER && m->p->at[r].kind == kind)
        return LK_OK; /* a set: what it holds does not matter */
    LK_REQUIRE(m->p->at[r].kind == kind && kind != LK_PICKLE_OTHER, LK_E_FORMAT,
               "the pickle puts items into something that is no %s",
               kind == LK_PICKLE_LIST   ? "list"
               : kind == LK_PICKLE_DICT ? "dictionary"
                                        : "set");
    LK_REQUIRE(kind != LK_PICKLE_DICT || count % 2 == 0, LK_E_FORMAT,
               "the pickle gives a dictionary a key without a value");
    for (size_t i = 0; i < count; i++)
        LK_TRY(lk_pickle_push_item(&m->p->at[r], m->stack[first + i]));
done:
    return st;
}

static lk_status fill_to_mark(machine *m, int kind)
{
    lk_status st = LK_OK;
    size_t first, count;
    LK_TRY(pop_to_mark(m, &first, &count));
    LK_TRY(fill(m, first, count, (lk_pickle_kind)kind));
done:
    return st;
}

/* One item or one key with its value, without a mark. */
static lk_status fill_one(machine *m, int kind)
{
    lk_status st = LK_OK;
    lk_ref r;
    const size_t count = kind == LK_PICKLE_DICT ? 2 : 1;
    for (size_t i = 0; i < count; i++)
        LK_TRY(pop(m, &r));
    LK_TRY(fill(m, m->n_stack, count, (lk_pickle_kind)kind));
done:
    return st;
}

static lk_status put_memo(machine *m, uint64_t index)
{
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(top(m, &r));
    LK_REQUIRE(index < m->n, LK_E_FORMAT, "the pickle numbers a value %llu, more than it can hold",
               (unsigned long long)index);
    LK_TRY(LK_GROW(&m->memo, &m->room_memo, index + 1));
    m->n_memoized += m->memo[index] == 0;
    m->memo[index] = r + 1;
done:
    return st;
}

static lk_status put_memo_number(machine *m, int bytes)
{
    lk_status st = LK_OK;
    uint64_t index;
    LK_TRY(take_number(m, bytes, &index));
    LK_TRY(put_memo(m, index));
done:
    return st;
}

static lk_status memoize(machine *m, int unused)
{
    (void)unused;
    return put_memo(m, m->n_memoized);
}

static lk_status get_memo(machine *m, int bytes)
{
    lk_status st = LK_OK;
    uint64_t index;
    LK_TRY(take_number(m, bytes, &index));
    LK_REQUIRE(index < m->room_memo && m->memo[index], LK_E_FORMAT,
               "the pickle refers to value %llu, which it never made", (unsigned long long)index);
    LK_TRY(push(m, m->memo[index] - 1));
done:
    return st;
}

static lk_status global_by_lines(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    lk_ref r;
    lk_pickle_text module, name;
    LK_TRY(take_line(m, &module));
    LK_TRY(take_line(m, &name));
    LK_TRY(lk_pickle_global(m->p, module, name, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status global_by_stack(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    lk_ref r, module, name;
    LK_TRY(pop(m, &name));
    LK_TRY(pop(m, &module));
    LK_REQUIRE(m->p->at[module].kind == LK_PICKLE_TEXT && m->p->at[name].kind == LK_PICKLE_TEXT,
               LK_E_FORMAT, "the pickle asks for a global whose name is no text");
    LK_TRY(lk_pickle_global(m->p, m->p->at[module].text, m->p->at[name].text, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

/* REDUCE, NEWOBJ and, with a dictionary of named arguments on top, NEWOBJ_EX. */
static lk_status call(machine *m, int named)
{
    lk_status st = LK_OK;
    lk_ref r, function, args;
    if (named) {
        LK_TRY(pop(m, &args));
        LK_REQUIRE(m->p->at[args].kind == LK_PICKLE_DICT && m->p->at[args].list.n == 0,
                   LK_E_UNSUPPORTED, "the pickle calls something with named arguments");
    }
    LK_TRY(pop(m, &args));
    LK_TRY(pop(m, &function));
    LK_TRY(lk_pickle_call(m->p, function, args, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

/* Attributes of an ordered dictionary (PyTorch's _metadata) and of things without use are dropped;
 * nothing else has any. */
static lk_status build(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    lk_ref state, r;
    LK_TRY(pop(m, &state));
    LK_TRY(top(m, &r));
    LK_REQUIRE(m->p->at[r].kind == LK_PICKLE_DICT || m->p->at[r].kind == LK_PICKLE_OTHER,
               LK_E_UNSUPPORTED, "the pickle sets attributes of something that has none");
done:
    return st;
}

static lk_status persistent(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    lk_ref r, id;
    LK_TRY(pop(m, &id));
    LK_TRY(lk_pickle_storage(m->p, id, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status push_mark(machine *m, int unused)
{
    (void)unused;
    return push(m, MARK);
}

static lk_status skip_number(machine *m, int bytes)
{
    uint64_t ignored;
    return take_number(m, bytes, &ignored);
}

enum { WORD_NONE, WORD_TRUE, WORD_FALSE, WORD_SET };

static lk_status push_word(machine *m, int which)
{
    static const char *const words[] = {"None", "True", "False", "a set"};
    return push_other(m, words[which]);
}

/* Only those of four bytes have a sign. */
static lk_status push_small(machine *m, int bytes)
{
    lk_status st = LK_OK;
    uint64_t x;
    LK_TRY(take_number(m, bytes, &x));
    LK_TRY(push_int(m, bytes == 4 ? (int32_t)(uint32_t)x : (int64_t)x));
done:
    return st;
}

static lk_status push_float(machine *m, int n)
{
    lk_status st = LK_OK;
    const uint8_t *bytes;
    LK_TRY(take(m, (uint64_t)n, &bytes));
    LK_TRY(push_other(m, "a number"));
done:
    return st;
}

static lk_status drop_to_mark(machine *m, int unused)
{
    (void)unused;
    size_t first, count;
    return pop_to_mark(m, &first, &count);
}

static lk_status frozen_set(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    LK_TRY(drop_to_mark(m, 0));
    LK_TRY(push_other(m, "a set"));
done:
    return st;
}

static lk_status duplicate(machine *m, int unused)
{
    (void)unused;
    lk_status st = LK_OK;
    lk_ref r;
    LK_TRY(top(m, &r));
    LK_TRY(push(m, r));
done:
    return st;
}

static lk_status drop_top(machine *m, int unused)
{
    (void)unused;
    lk_ref r;
    if (m->n_stack > 0 && m->stack[m->n_stack - 1] == MARK) {
        m->n_stack--;
        return LK_OK;
    }
    return pop(m, &r);
}

typedef struct instruction {
    lk_status (*run)(machine *m, int argument);
    int argument;
} instruction;

static const instruction instructions[256] = {
    [0x80] = {skip_number, 1},                 /* PROTO */
    [0x95] = {skip_number, 8},                 /* FRAME */
    ['('] = {push_mark, 0},                    /* MARK */
    ['0'] = {drop_top, 0},                     /* POP */
    ['1'] = {drop_to_mark, 0},                 /* POP_MARK */
    ['2'] = {duplicate, 0},                    /* DUP */
    ['N'] = {push_word, WORD_NONE},            /* NONE */
    [0x88] = {push_word, WORD_TRUE},           /* NEWTRUE */
    [0x89] = {push_word, WORD_FALSE},          /* NEWFALSE */
    ['K'] = {push_small, 1},                   /* BININT1 */
    ['M'] = {push_small, 2},                   /* BININT2 */
    ['J'] = {push_small, 4},                   /* BININT */
    [0x8a] = {push_long, 1},                   /* LONG1 */
    [0x8b] = {push_long, 4},                   /* LONG4 */
    ['G'] = {push_float, 8},                   /* BINFLOAT */
    ['U'] = {push_text, 1},                    /* SHORT_BINSTRING */
    ['T'] = {push_text, 4},                    /* BINSTRING */
    [0x8c] = {push_text, 1},                   /* SHORT_BINUNICODE */
    ['X'] = {push_text, 4},                    /* BINUNICODE */
    [0x8d] = {push_text, 8},                   /* BINUNICODE8 */
    ['C'] = {push_bytes, 1},                   /* SHORT_BINBYTES */
    ['B'] = {push_bytes, 4},                   /* BINBYTES */
    [0x8e] = {push_bytes, 8},                  /* BINBYTES8 */
    [0x96] = {push_bytes, 8},                  /* BYTEARRAY8 */
    [')'] = {push_container, LK_PICKLE_TUPLE}, /* EMPTY_TUPLE */
    [']'] = {push_container, LK_PICKLE_LIST},  /* EMPTY_LIST */
    ['}'] = {push_container, LK_PICKLE_DICT},  /* EMPTY_DICT */
    [0x8f] = {push_word, WORD_SET},            /* EMPTY_SET */
    [0x91] = {frozen_set, 0},                  /* FROZENSET */
    ['t'] = {tuple_to_mark, 0},                /* TUPLE */
    [0x85] = {tuple_of, 1},                    /* TUPLE1 */
    [0x86] = {tuple_of, 2},                    /* TUPLE2 */
    [0x87] = {tuple_of, 3},                    /* TUPLE3 */
    ['a'] = {fill_one, LK_PICKLE_LIST},        /* APPEND */
    ['e'] = {fill_to_mark, LK_PICKLE_LIST},    /* APPENDS */
    ['s'] = {fill_one, LK_PICKLE_DICT},        /* SETITEM */
    ['u'] = {fill_to_mark, LK_PICKLE_DICT},    /* SETITEMS */
    [0x90] = {fill_to_mark, LK_PICKLE_OTHER},  /* ADDITEMS */
    ['q'] = {put_memo_number, 1},              /* BINPUT */
    ['r'] = {put_memo_number, 4},              /* LONG_BINPUT */
    [0x94] = {memoize, 0},                     /* MEMOIZE */
    ['h'] = {get_memo, 1},                     /* BINGET */
    ['j'] = {get_memo, 4},                     /* LONG_BINGET */
    ['c'] = {global_by_lines, 0},              /* GLOBAL */
    [0x93] = {global_by_stack, 0},             /* STACK_GLOBAL */
    ['R'] = {call, 0},                         /* REDUCE */
    [0x81] = {call, 0},                        /* NEWOBJ */
    [0x92] = {call, 1},                        /* NEWOBJ_EX */
    ['b'] = {build, 0},                        /* BUILD */
    ['Q'] = {persistent, 0},                   /* BINPERSID */
};

lk_status lk_pickle_read(lk_pickle *p, const uint8_t *bytes, size_t n, size_t *used)
{
    lk_status st = LK_OK;
    machine m = {.p = p, .b = bytes, .n = n};
    const uint8_t *code;
    memset(p, 0, sizeof *p);
    LK_REQUIRE(n < UINT32_MAX, LK_E_UNSUPPORTED, "a pickle of more than 4 GiB");
    LK_TRY(take(&m, 1, &code));
    LK_REQUIRE(*code == 0x80, LK_E_FORMAT, "there is no pickle where one should begin");
    while (*code != '.') { /* STOP */
        const instruction *i = &instructions[*code];
        LK_REQUIRE(i->run, LK_E_UNSUPPORTED,
                   "the pickle has an instruction 0x%02x that is not read", *code);
        LK_TRY(i->run(&m, i->argument));
        LK_TRY(take(&m, 1, &code));
    }
    LK_TRY(pop(&m, &p->root));
    *used = m.at;
done:
    lk_free(m.stack);
    lk_free(m.memo);
    if (st != LK_OK)
        lk_pickle_free(p);
    return st;
}
