/* test_pickle.c - pickles: every instruction, PyTorch's two forms, and what must be refused. */
#include "tests/check.h"
#include "tests/import_files.h"

#include "av/import/pickle.h"
#include "av/import/weights.h"
#include "kernels/mem.h"

static const float numbers[6] = {1, -2, 3.5f, 4, 0, 6};

#define SHOW(program) program, sizeof(program) - 1
#define STORAGE                                                                                    \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                             \
    "0X\3\0\0\0cpuK\6tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"

/* A program and what stays on the stack; `of` is the count of items or the integer. */
static const struct {
    const char *program;
    size_t n;
    lk_pickle_kind kind;
    int64_t of;
} right[] = {
    {SHOW("\x80\2N."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\4\x95\1\0\0\0\0\0\0\0N."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2\x88."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2\x89."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2K\xff."), LK_PICKLE_INT, 255},
    {SHOW("\x80\2M\xff\xff."), LK_PICKLE_INT, 65535},
    {SHOW("\x80\2J\xfe\xff\xff\xff."), LK_PICKLE_INT, -2},
    {SHOW("\x80\2\x8a\0."), LK_PICKLE_INT, 0},
    {SHOW("\x80\2\x8a\1\xff."), LK_PICKLE_INT, -1},
    {SHOW("\x80\2\x8a\2\xff\0."), LK_PICKLE_INT, 255},
    {SHOW("\x80\2\x8a\10\0\0\0\0\0\0\0\x80."), LK_PICKLE_INT, INT64_MIN},
    {SHOW("\x80\2\x8a\11\0\0\0\0\0\0\0\0\1."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2\x8b\1\0\0\0\5."), LK_PICKLE_INT, 5},
    {SHOW("\x80\2G\0\0\0\0\0\0\0\0."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2U\2ab."), LK_PICKLE_TEXT, 2},
    {SHOW("\x80\2T\2\0\0\0ab."), LK_PICKLE_TEXT, 2},
    {SHOW("\x80\2\x8c\2ab."), LK_PICKLE_TEXT, 2},
    {SHOW("\x80\2X\2\0\0\0ab."), LK_PICKLE_TEXT, 2},
    {SHOW("\x80\4\x8d\2\0\0\0\0\0\0\0ab."), LK_PICKLE_TEXT, 2},
    {SHOW("\x80\3C\1x."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\3B\1\0\0\0x."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\4\x8e\1\0\0\0\0\0\0\0x."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\5\x96\1\0\0\0\0\0\0\0x."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2)."), LK_PICKLE_TUPLE, 0},
    {SHOW("\x80\2]."), LK_PICKLE_LIST, 0},
    {SHOW("\x80\2}."), LK_PICKLE_DICT, 0},
    {SHOW("\x80\4\x8f(K\1K\2\x90."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\4(K\1\x91."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2(K\1K\2K\3K\4t."), LK_PICKLE_TUPLE, 4},
    {SHOW("\x80\2K\1\x85."), LK_PICKLE_TUPLE, 1},
    {SHOW("\x80\2K\1K\2\x86."), LK_PICKLE_TUPLE, 2},
    {SHOW("\x80\2K\1K\2K\3\x87."), LK_PICKLE_TUPLE, 3},
    {SHOW("\x80\2]K\1a."), LK_PICKLE_LIST, 1},
    {SHOW("\x80\2](K\1K\2e."), LK_PICKLE_LIST, 2},
    {SHOW("\x80\2}K\1K\2s."), LK_PICKLE_DICT, 2},
    {SHOW("\x80\2}(K\1K\2K\3K\4u."), LK_PICKLE_DICT, 4},
    {SHOW("\x80\2]K\1"
          "0."),
     LK_PICKLE_LIST, 0},                     /* POP */
    {SHOW("\x80\2](0."), LK_PICKLE_LIST, 0}, /* POP of a mark */
    {SHOW("\x80\2](K\1K\1"
          "1."),
     LK_PICKLE_LIST, 0}, /* POP_MARK */
    {SHOW("\x80\2K\7"
          "2\x86."),
     LK_PICKLE_TUPLE, 2}, /* DUP */
    {SHOW("\x80\2K\7q\5"
          "0h\5."),
     LK_PICKLE_INT, 7}, /* BINPUT, BINGET */
    {SHOW("\x80\2K\7r\5\0\0\0"
          "0j\5\0\0\0."),
     LK_PICKLE_INT, 7},
    {SHOW("\x80\4K\7\x94K\x8\x94h\1."), LK_PICKLE_INT, 8}, /* MEMOIZE */
    {SHOW("\x80\2]q\0h\0a."), LK_PICKLE_LIST, 1},          /* holds itself */
    {SHOW("\x80\2ctorch\nfloat32\n."), LK_PICKLE_GLOBAL, 0},
    {SHOW("\x80\4\x8c\5torch\x8c\7"
          "float16\x93."),
     LK_PICKLE_GLOBAL, 0},
    {SHOW("\x80\2ccollections\nOrderedDict\n)R."), LK_PICKLE_DICT, 0},
    {SHOW("\x80\2ccollections\nOrderedDict\n)\x81."), LK_PICKLE_DICT, 0},
    {SHOW("\x80\4ccollections\nOrderedDict\n)}\x92."), LK_PICKLE_DICT, 0},
    {SHOW("\x80\2ccollections\nOrderedDict\n](]K\1aK\2a]K\3aK\4ae\x85R."), LK_PICKLE_DICT, 4},
    {SHOW("\x80\2ccollections\nOrderedDict\n)R}b."), LK_PICKLE_DICT, 0},
    {SHOW("\x80\2ctorch\nSize\n(K\1K\2t\x85R."), LK_PICKLE_TUPLE, 2},
    {SHOW("\x80\2ctorch\ndevice\nX\3\0\0\0cpu\x85R."), LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2cnumpy\ndtype\nU\2f4\x89\x88\x87R(K\3t"
          "b."),
     LK_PICKLE_OTHER, 0},
    {SHOW("\x80\2" STORAGE "."), LK_PICKLE_STORAGE, 6},
    {SHOW("\x80\2" REBUILD "(" STORAGE "K\0K\6\x85K\1\x85tR."), LK_PICKLE_TENSOR, 0},
    {SHOW("\x80\2"
          "ctorch._utils\n_rebuild_parameter\n" REBUILD "(" STORAGE
          "K\0K\6\x85K\1\x85tR\x88}\x87R."),
     LK_PICKLE_TENSOR, 0},
};

static void every_instruction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        lk_pickle p;
        size_t used;
        const lk_status st =
            lk_pickle_read(&p, (const uint8_t *)right[i].program, right[i].n, &used);
        if (st != LK_OK)
            fail_msg("program %zu: %s", i, lk_error_text());
        const lk_pickle_value *v = &p.at[p.root];
        assert_int_equal(used, right[i].n);
        if (v->kind != right[i].kind)
            fail_msg("program %zu left kind %d, expected %d", i, v->kind, right[i].kind);
        if (v->kind == LK_PICKLE_INT)
            assert_int_equal(v->integer, right[i].of);
        if (v->kind == LK_PICKLE_TEXT)
            assert_int_equal(v->text.n, right[i].of);
        if (v->kind == LK_PICKLE_STORAGE)
            assert_int_equal(v->storage.count, right[i].of);
        if (v->kind == LK_PICKLE_TUPLE || v->kind == LK_PICKLE_LIST || v->kind == LK_PICKLE_DICT)
            assert_int_equal(v->list.n, right[i].of);
        lk_pickle_free(&p);
        for (size_t n = 0; n < right[i].n; n++) { /* cut off anywhere */
            uint8_t *piece = malloc(n + 1);
            assert_non_null(piece);
            memcpy(piece, right[i].program, n);
            const lk_status cut = lk_pickle_read(&p, piece, n, &used);
            if (cut == LK_OK)
                fail_msg("program %zu cut to %zu bytes was read", i, n);
            lk_error_clear();
            free(piece);
        }
    }
}

static const struct {
    const char *program;
    size_t n;
    lk_status status;
    const char *says; /* part of the sentence */
} wrong[] = {
    {SHOW("\x80\2cos\nsystem\nX\2\0\0\0id\x85R."), LK_E_UNSUPPORTED, "'os.system'"},
    {SHOW("\x80\2cposix\nsystem\nX\2\0\0\0id\x85R."), LK_E_UNSUPPORTED, "'posix.system'"},
    {SHOW("\x80\2"
          "cbuiltins\neval\nX\1\0\0\0"
          "1\x85R."),
     LK_E_UNSUPPORTED, "'builtins.eval'"},
    {SHOW("\x80\2"
          "c__builtin__\ngetattr\n."),
     LK_E_UNSUPPORTED, "'__builtin__.getattr'"},
    {SHOW("\x80\4\x8c\2os\x8c\6system\x93."), LK_E_UNSUPPORTED, "'os.system'"},
    {SHOW("\x80\4\x8c\5torch\x8c\x0f"
          "_utils.__import\x93."),
     LK_E_UNSUPPORTED, "_utils.__import"},
    {SHOW("\x80\2ctorch\nload\n."), LK_E_UNSUPPORTED, "'torch.load'"},
    {SHOW("\x80\2ctorch\nComplexFloatStorage\n."), LK_E_UNSUPPORTED, "numbers of type"},
    {SHOW("\x80\2cnumpy.core.multiarray\n_reconstruct\n."), LK_E_UNSUPPORTED, "_reconstruct"},
    {SHOW("\x80\2"
          "cbad\033[2J\nname\n."),
     LK_E_UNSUPPORTED, "'bad?[2J.name'"},
    {SHOW("\x80\2K\1)R."), LK_E_FORMAT, "no function"},
    {SHOW("\x80\2ctorch\nfloat32\n)R."), LK_E_FORMAT, "no function"},
    {SHOW("\x80\2ctorch\nFloatStorage\n)R."), LK_E_FORMAT, "no function"},
    {SHOW("\x80\2ccollections\nOrderedDict\nK\1R."), LK_E_FORMAT, "no tuple"},
    {SHOW("\x80\2ccollections\nOrderedDict\nK\1\x85R."), LK_E_FORMAT, "a list"},
    {SHOW("\x80\2ccollections\nOrderedDict\n](K\1e\x85R."), LK_E_FORMAT, "pairs"},
    {SHOW("\x80\2ctorch\nSize\n)R."), LK_E_FORMAT, "argument"},
    {SHOW("\x80\4ccollections\nOrderedDict\n)}K\1K\2s\x92."), LK_E_UNSUPPORTED, "named"},
    {SHOW("\x80\2]}b."), LK_E_UNSUPPORTED, "attributes"},
    {SHOW("\x80\2K\1}b."), LK_E_UNSUPPORTED, "attributes"},
    {SHOW("\x80\2" REBUILD "(" STORAGE "K\0K\6\x85K\1\x85tR}b."), LK_E_UNSUPPORTED, "attributes"},
    {SHOW("\x80\2" REBUILD "(" STORAGE "K\0K\6\x85tR."), LK_E_FORMAT, "lacks"},
    {SHOW("\x80\2" REBUILD "(K\1K\0K\6\x85K\1\x85tR."), LK_E_FORMAT, "something else"},
    {SHOW("\x80\2" REBUILD "(" STORAGE "K\0K\6K\1\x85tR."), LK_E_FORMAT, "something else"},
    {SHOW("\x80\2" REBUILD "(" STORAGE "K\0N\x85K\1\x85tR."), LK_E_FORMAT, "something else"},
    {SHOW("\x80\2X\1\0\0\0"
          "0Q."),
     LK_E_UNSUPPORTED, "no tensor storage"},
    {SHOW("\x80\2(X\6\0\0\0moduleNNNNtQ."), LK_E_UNSUPPORTED, "no tensor storage"},
    {SHOW("\x80\2(X\7\0\0\0storageNX\1\0\0\0"
          "0NK\6tQ."),
     LK_E_FORMAT, "class, key"},
    {SHOW("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
          "0NJ\xff\xff\xff\xfftQ."),
     LK_E_FORMAT, "class, key"},
    {SHOW("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
          "0NK\6NK\2K\5\x87tQ."),
     LK_E_FORMAT, "beyond"},
    {SHOW("\x80\2K\7r\xff\xff\xff\xff."), LK_E_FORMAT, "numbers a value"},
    {SHOW("\x80\2h\0."), LK_E_FORMAT, "never made"},
    {SHOW("\x80\2j\xff\xff\xff\xff."), LK_E_FORMAT, "never made"},
    {SHOW("\x80\2q\0."), LK_E_FORMAT, "stack"},
    {SHOW("\x80\2(."), LK_E_FORMAT, "stack"},
    {SHOW("\x80\2."), LK_E_FORMAT, "stack"},
    {SHOW("\x80\2"
          "0."),
     LK_E_FORMAT, "stack"},
    {SHOW("\x80\2K\1(\x86."), LK_E_FORMAT, "stack"},
    {SHOW("\x80\2K\1(K\1\x86."), LK_E_FORMAT, "stack"},
    {SHOW("\x80\2t."), LK_E_FORMAT, "did not open"},
    {SHOW("\x80\2"
          "1."),
     LK_E_FORMAT, "did not open"},
    {SHOW("\x80\2}K\1a."), LK_E_FORMAT, "no list"},
    {SHOW("\x80\2]K\1K\2s."), LK_E_FORMAT, "no dictionary"},
    {SHOW("\x80\2)K\1a."), LK_E_FORMAT, "no list"},
    {SHOW("\x80\2}(K\1u."), LK_E_FORMAT, "without a value"},
    {SHOW("\x80\4](K\1\x90."), LK_E_FORMAT, "no set"},
    {SHOW("\x80\4K\1K\2\x93."), LK_E_FORMAT, "no text"},
    {SHOW("\x80\2X\xff\xff\xff\xff."), LK_E_FORMAT, "cut off"},
    {SHOW("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), LK_E_FORMAT, "cut off"},
    {SHOW("\x80\2\x8b\xff\xff\xff\xff."), LK_E_FORMAT, "cut off"},
    {SHOW("\x80\2I1\n."), LK_E_UNSUPPORTED, "0x49"},
    {SHOW("\x80\2"
          "i__main__\nX\n."),
     LK_E_UNSUPPORTED, "0x69"},                        /* INST */
    {SHOW("\x80\2(o."), LK_E_UNSUPPORTED, "0x6f"},     /* OBJ */
    {SHOW("\x80\2\x82\1."), LK_E_UNSUPPORTED, "0x82"}, /* EXT1 */
    {SHOW("\x80\2Pabc\n."), LK_E_UNSUPPORTED, "0x50"}, /* PERSID */
    {SHOW("\x80\5\x97."), LK_E_UNSUPPORTED, "0x97"},   /* NEXT_BUFFER */
    {SHOW("K\1."), LK_E_FORMAT, "no pickle"},
};

static void everything_else_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lk_pickle p;
        size_t used;
        const lk_status st =
            lk_pickle_read(&p, (const uint8_t *)wrong[i].program, wrong[i].n, &used);
        if (st != wrong[i].status || !strstr(lk_error_text(), wrong[i].says))
            fail_msg("program %zu (\"%s\"): %s, \"%s\"", i, wrong[i].says, lk_status_name(st),
                     lk_error_text());
        lk_error_clear();
        assert_null(p.at);
    }
}

/* A PyTorch archive of this pickle with one storage of six numbers. */
static lk_status parse(lk_weights *w, const bytes *pickle)
{
    bytes b = {0};
    const storage s = {numbers, sizeof numbers};
    put_torch_zip(&b, pickle->at, pickle->n, &s, 1, NULL);
    const lk_status st = lk_weights_parse(w, b.at, b.n, "folder/lone.pt");
    drop(&b);
    return st;
}

static void one_tensor(const char *class, int64_t numel, int64_t offset, int n_dims,
                       const int64_t *size, const int64_t *stride, lk_status wanted)
{
    bytes p = {0};
    lk_weights w;
    put(&p, "\x80\2", 2);
    put_tensor(&p, class, "0", numel, offset, n_dims, size, stride);
    put_text(&p, ".");
    const lk_status st = parse(&w, &p);
    if (st != wanted)
        fail_msg("%s %lld+%lld: %s (%s)", class, (long long)numel, (long long)offset,
                 lk_status_name(st), lk_error_text());
    if (st == LK_OK) {
        assert_int_equal(w.n, 1);
        assert_string_equal(w.at[0].name, "lone");
    }
    lk_error_clear();
    lk_weights_close(&w);
    drop(&p);
}

#define S(...)                                                                                     \
    (const int64_t[])                                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void tensors_stay_inside_their_storage(void **state)
{
    (void)state;
    one_tensor("FloatStorage", 6, 0, 2, S(2, 3), S(3, 1), LK_OK);
    one_tensor("DoubleStorage", 3, 0, 1, S(3), S(1), LK_OK);
    one_tensor("FloatStorage", 6, 5, 0, NULL, NULL, LK_OK);
    one_tensor("FloatStorage", 6, 6, 0, NULL, NULL, LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 1, 2, S(2, 3), S(3, 1), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 0, 2, S(3, 3), S(0, 1), LK_OK); /* repeated rows */
    one_tensor("FloatStorage", 6, 0, 1, S(6), S(2), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 0, 1, S(3), S(2), LK_OK);
    one_tensor("FloatStorage", 6, 100, 2, S(0, 3), S(3, 1), LK_OK); /* nothing lies nowhere */
    one_tensor("FloatStorage", 6, -1, 1, S(3), S(1), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 5, 1, S(3), S(-1), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 0, 1, S(-3), S(1), LK_E_SHAPE);
    one_tensor("FloatStorage", 6, 0, 2, S(INT64_MAX, 2), S(0, 1), LK_E_SHAPE);
    one_tensor("FloatStorage", 6, 0, 2, S(2, 2), S(INT64_MAX, INT64_MAX), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, INT64_MAX, 1, S(2), S(1), LK_E_FORMAT);
    one_tensor("FloatStorage", 6, 0, 1, S(INT64_C(1) << 40), S(0), LK_E_UNSUPPORTED);
    one_tensor("FloatStorage", 6, 0, 7, S(1, 1, 1, 1, 1, 1, 1), S(1, 1, 1, 1, 1, 1, 1),
               LK_E_UNSUPPORTED);
    one_tensor("FloatStorage", 7, 0, 1, S(1), S(1), LK_E_FORMAT); /* another length is stored */
    one_tensor("FloatStorage", 5, 0, 1, S(1), S(1), LK_E_FORMAT);
    one_tensor("FloatStorage", INT64_MAX, 0, 1, S(1), S(1), LK_E_FORMAT);
    one_tensor("HalfStorage", 12, 0, 1, S(12), S(1), LK_OK);
    one_tensor("BFloat16Storage", 12, 11, 1, S(1), S(1), LK_OK);
    one_tensor("CharStorage", 24, 0, 1, S(24), S(1), LK_OK);
    one_tensor("BoolStorage", 24, 0, 2, S(2, 12), S(12, 1), LK_OK);
}

static void a_pickle(const char *program, size_t n, lk_status wanted, const char *says)
{
    bytes p = {0};
    lk_weights w;
    put(&p, program, n);
    const lk_status st = parse(&w, &p);
    if (st != wanted || !strstr(lk_error_text(), says))
        fail_msg("\"%s\": %s (%s)", says, lk_status_name(st), lk_error_text());
    lk_error_clear();
    lk_weights_close(&w);
    drop(&p);
}

#define TENSOR REBUILD "(" STORAGE "K\0K\6\x85K\1\x85tR"

static void names_are_checked(void **state)
{
    bytes p = {0};
    (void)state;
    a_pickle(SHOW("\x80\2}X\1\0\0\0a" TENSOR "s."), LK_OK, "");
    a_pickle(SHOW("\x80\2}K\7" TENSOR "s."), LK_OK, "");
    a_pickle(SHOW("\x80\2}N" TENSOR "s."), LK_E_UNSUPPORTED, "neither text nor a number");
    a_pickle(SHOW("\x80\2}X\3\0\0\0a\0b" TENSOR "s."), LK_E_FORMAT, "zero byte");
    a_pickle(SHOW("\x80\2}X\2\0\0\0a\n" TENSOR "s."), LK_E_FORMAT, "printable");
    a_pickle(SHOW("\x80\2}X\2\0\0\0a\xff" TENSOR "s."), LK_E_FORMAT, "printable");
    a_pickle(SHOW("\x80\2}X\0\0\0\0" TENSOR "s."), LK_E_FORMAT, "name of 0 bytes");
    a_pickle(SHOW("\x80\2}X\1\0\0\0aNs."), LK_OK, ""); /* no tensors at all */
    put(&p, "\x80\2}X\0\5\0\0", 8);
    for (int i = 0; i < 0x500; i++)
        put_text(&p, "n");
    put(&p, SHOW(TENSOR "s."));
    a_pickle((const char *)p.at, p.n, LK_E_UNSUPPORTED, "longer");
    drop(&p);
}

static void nesting_is_bounded(void **state)
{
    bytes p = {0};
    (void)state;
    /* {"a": itself, "b": tensor} */
    a_pickle(SHOW("\x80\2}q\0(X\1\0\0\0ah\0X\1\0\0\0b" TENSOR "u."), LK_E_FORMAT, "itself");
    a_pickle(SHOW("\x80\2]q\0h\0a."), LK_OK, ""); /* without tensors nobody looks inside */
    /* A million tuples inside each other. */
    put(&p, "\x80\2)", 3);
    for (int i = 0; i < 1000000; i++)
        put_text(&p, "\x85");
    put_text(&p, ".");
    a_pickle((const char *)p.at, p.n, LK_E_FORMAT, "deep");
    drop(&p);
    /* Forty lists, each holding the one before twice: 2^40 places for one tensor. */
    put(&p, SHOW("\x80\2" TENSOR));
    for (int i = 0; i < 40; i++)
        put_text(&p, "2\x86");
    put_text(&p, ".");
    a_pickle((const char *)p.at, p.n, LK_E_FORMAT, "too many places");
    drop(&p);
}

static void the_stream_is_checked(void **state)
{
    static const struct {
        uint64_t first, second;
        int extra;
        lk_status status;
    } cases[] = {{6, 6, 0, LK_OK},
                 {6, 6, 1, LK_E_FORMAT},
                 {5, 6, 0, LK_E_FORMAT},
                 {6, 7, 0, LK_E_FORMAT},
                 {UINT64_MAX, 6, 0, LK_E_FORMAT}};
    const storage s[2] = {{numbers, sizeof numbers}, {numbers, sizeof numbers}};
    bytes p = {0}, b = {0};
    lk_weights w;
    lk_tensor t;
    (void)state;
    put(&p, "\x80\2](", 4);
    put_tensor(&p, "FloatStorage", "0", 6, 0, 1, S(6), S(1));
    put_tensor(&p, "FloatStorage", "1", 6, 0, 1, S(6), S(1));
    put_text(&p, "e.");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_torch_stream(&b, p.at, p.n, s, (uint64_t[]){cases[i].first, cases[i].second}, 2, 1);
        put(&b, "x", (size_t)cases[i].extra);
        const lk_status st = lk_weights_parse(&w, b.at, b.n, "a");
        assert_int_equal(st, cases[i].status);
        lk_error_clear();
        lk_weights_close(&w);
        drop(&b);
    }
    put_torch_stream(&b, p.at, p.n, s, (uint64_t[]){6}, 1, 1); /* the second is not listed */
    CHECK_FAILS(lk_weights_parse(&w, b.at, b.n, "a"), LK_E_FORMAT);
    drop(&b);
    put_torch_stream(&b, p.at, p.n, s, (uint64_t[]){6, 6}, 2, 0); /* most significant byte first */
    CHECK_OK(lk_weights_parse(&w, b.at, b.n, "a"));
    CHECK_OK(lk_weights_tensor(&w, 0, &t));
    uint8_t swapped[4];
    for (int k = 0; k < 4; k++)
        swapped[k] = ((const uint8_t *)numbers)[3 - k];
    assert_memory_equal(t.data, swapped, 4);
    lk_weights_close(&w);
    drop(&b);
    drop(&p);
    CHECK_FAILS(lk_weights_parse(&w, "\x80\2]q\0.", 6, "a.pkl"), LK_E_UNSUPPORTED);
}

/* A storage may be a part of a stored array: (key, offset, count) as sixth. */
static void views_of_storages(void **state)
{
    const storage s = {numbers, sizeof numbers};
    bytes p = {0}, b = {0};
    lk_weights w;
    lk_tensor t;
    (void)state;
    put(&p, SHOW("\x80\2" REBUILD "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
                 "0X\3\0\0\0cpuK\6X\1\0\0\0vK\2K\3\x87tQK\1K\2\x85K\1\x85tR."));
    put_torch_stream(&b, p.at, p.n, &s, (uint64_t[]){6}, 1, 1);
    CHECK_OK(lk_weights_parse(&w, b.at, b.n, "a"));
    CHECK_OK(lk_weights_tensor(&w, 0, &t));
    assert_int_equal(lk_tensor_count(&t), 2);
    assert_memory_equal(t.data, numbers + 3, 8);
    lk_weights_close(&w);
    drop(&b);
    drop(&p);
}

static void byte_order_of_archives(void **state)
{
    static const struct {
        const char *order;
        lk_status status;
    } cases[] = {{"little", LK_OK}, {"big", LK_OK}, {"middle", LK_E_FORMAT}};
    const storage s = {"\x3f\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24};
    bytes b = {0};
    lk_weights w;
    lk_tensor t;
    (void)state;
    for (int i = 0; i < 3; i++) {
        put_torch_zip(&b, SHOW("\x80\2" TENSOR "."), &s, 1, cases[i].order);
        assert_int_equal(lk_weights_parse(&w, b.at, b.n, "a"), cases[i].status);
        if (i == 1) {
            CHECK_OK(lk_weights_tensor(&w, 0, &t));
            CHECK_CLOSE(((const float *)t.data)[0], 1, 0);
        }
        lk_error_clear();
        lk_weights_close(&w);
        drop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(tensors_stay_inside_their_storage),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(the_stream_is_checked),
        cmocka_unit_test(views_of_storages),
        cmocka_unit_test(byte_order_of_archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
