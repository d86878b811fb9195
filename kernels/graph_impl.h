/* graph_impl.h - the insides of a graph, for kernels/ops, kernels/cpu, kernels/ref, kernels/cuda.
 *
 * Invariants
 * (1) nodes stand in execution order; a node's inputs are made by earlier nodes or are leaves.
 * (2) every value is dense; an alias (RESHAPE, STOP) shares all the bytes of its root.
 * (3) a graph changes only until it is compiled.
 */
#ifndef LK_GRAPH_IMPL_H
#define LK_GRAPH_IMPL_H

#include "kernels/graph.h"
#include "kernels/ops.h"
#include "kernels/params.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LK_MAX_IN  10
#define LK_MAX_OUT 4

typedef enum lk_op {
#define LK_OP(upper, lower, cpu) LK_OP_##upper,
#include "kernels/ops.def"
#undef LK_OP
    LK_N_OPS
} lk_op;

typedef struct lk_conv_attr {
    int n_spatial; /* 1..3 */
    int groups;
    int64_t stride[3], dilation[3], pad_lo[3], pad_hi[3];
    int64_t size[3];  /* CONV_DX: spatial size of its result; CONV_DW: taps of its result */
    int64_t channels; /* CONV_DW: input channels a group */
} lk_conv_attr;

typedef union lk_attr {
    struct {
        lk_unary_kind kind;
        double a, b;
    } unary;
    struct {
        lk_dtype dtype;
    } cast;
    struct {
        lk_shape shape;
    } reshape;
    struct {
        int64_t perm[LK_MAX_DIMS];
    } permute;
    struct {
        int axis;
        int64_t start, size; /* SLICE: part kept; PAD: zeros in front and the padded size */
    } range;
    struct {
        int axis;
        int64_t size; /* SCATTER_ADD: the result's size along axis */
    } axis;
    struct {
        unsigned axes; /* bit i: dimension i is summed and kept with size 1 */
        double scale;
    } sum;
    struct {
        lk_norm_kind kind;
        int groups;
        double eps;
        int n_gamma_dims; /* NORM_GRAD: 1 for [C], 2 for [B, C]; same for beta */
        int n_beta_dims;
    } norm;
    struct {
        int trans_a, trans_b;
        int to_f32; /* the result is f32 whatever the operands are */
        int has_act;
        lk_unary_kind act;
        double act_a;
    } matmul;
    lk_conv_attr conv;
    struct {
        int normal; /* 1: N(0, 1), 0: U[0, 1) */
        double p;   /* DROPOUT: share of zeros */
        uint64_t stream;
        lk_dtype dtype; /* RANDOM: of the result */
        lk_shape shape;
    } random;
    struct {
        int n_fft, hop; /* frame and step in samples; n_fft even */
        int64_t n_samples;
    } stft;
    struct {
        double scale;
    } attention;
    struct {
        int inverse; /* 1: turned back */
    } rotary;
    struct {
        int param; /* index in the store */
    } param;
} lk_attr;

typedef struct lk_node {
    lk_op op;
    int n_in, n_out;
    int32_t in[LK_MAX_IN];   /* value ids; -1: absent */
    int32_t out[LK_MAX_OUT]; /* value ids; -1: not needed */
    lk_attr attr;
    int segment; /* checkpoint segment, -1: none */
} lk_node;

typedef enum lk_leaf { LK_LEAF_NOT, LK_LEAF_INPUT, LK_LEAF_CONST, LK_LEAF_PARAM } lk_leaf;

typedef struct lk_value {
    lk_dtype dtype;
    lk_shape shape;
    lk_leaf leaf;
    int32_t node;   /* producer; -1 for leaves */
    int32_t root;   /* the value whose bytes these are; itself unless an alias */
    int param;      /* LK_LEAF_PARAM: index in the store; else -1 */
    int wants_grad; /* depends on a parameter that is not frozen, or was asked for */
    int pinned;     /* keeps its place after the run */
    char *name;     /* NULL unless named */
    void *constant; /* LK_LEAF_CONST: its data */
    void *data;     /* on the device, once compiled */
} lk_value;

/* A node with its tensors in place: what a backend executes. */
typedef struct lk_call {
    const lk_node *node;
    const lk_graph *graph;
    lk_tensor in[LK_MAX_IN];   /* data NULL: absent */
    lk_tensor out[LK_MAX_OUT]; /* data NULL: not needed */
    void *work;                /* as many bytes as the backend asked for */
    void *state;               /* the backend's own, made by prepare */
    uint64_t seed;
    const uint64_t *step; /* of the current run */
} lk_call;

/* What an operation is, apart from any backend. */
typedef struct lk_op_def {
    const char *name;
    int n_out;
    int overwrites; /* 1: output 0 may take the bytes of any input of equal size, because element i
                       of it is written after element i of each input was read */
    int is_alias;
    /* Dtypes and shapes of the outputs; inputs and attributes are checked here. */
    lk_status (*infer)(const lk_call *c, lk_tensor *out);
    /* The plain definition, in double: float tensors are LK_F64 here, whatever the graph says. */
    void (*define)(const lk_call *c);
    /* Record the gradients of the inputs that want one: din[i] for in[i]; dout[i] is LK_NONE where
     * nothing flows back.  NULL: no gradient. */
    void (*gradient)(lk_graph *g, const lk_node *n, const lk_var *in, const lk_var *out,
                     const lk_var *dout, lk_var *din);
    double (*flops)(const lk_call *c); /* NULL: not counted */
} lk_op_def;

#define LK_OP(upper, lower, cpu) extern const lk_op_def lk_op_##lower;
#include "kernels/ops.def"
#undef LK_OP
const lk_op_def *lk_op_get(lk_op op);

/* Record one operation; out_needed is a bit mask, 0 for all.  Gives output 0 and, when outs is not
 * NULL, all of them.  LK_NONE after an error. */
lk_var lk_record(lk_graph *g, lk_op op, int n_in, const lk_var *in, const lk_attr *attr,
                 unsigned out_needed, lk_var *outs);

/* f(x) of a unary kind, in double. */
double lk_unary_value(lk_unary_kind kind, double x, double a, double b);
/* A node's tensors without addresses. */
void lk_graph_call(const lk_graph *g, const lk_node *n, lk_call *c);
/* Is input i there? */
static inline int lk_has(const lk_call *c, int i)
{
    return i < c->node->n_in && c->node->in[i] >= 0;
}
/* May output i of a node hold infinities?  The log-sum-exp of nothing is -Inf. */
static inline int lk_may_be_infinite(const lk_node *n, int i)
{
    return n->op == LK_OP_ATTENTION && i == 1;
}
/* Does anything flow back to v? */
int lk_wants_grad(const lk_graph *g, lk_var v);
int lk_graph_failed(const lk_graph *g);
int lk_graph_is_training(const lk_graph *g);
/* A fresh stream of random numbers. */
uint64_t lk_graph_stream(lk_graph *g);

/* ---- backends ---- */

struct lk_backend {
    const char *name;
    int is_host; /* data pointers can be read by the CPU */
    int doubles; /* the reference: floats are held as double */
    lk_status (*alloc)(size_t bytes, void **out);
    void (*free)(void *p);
    lk_status (*upload)(void *device, const void *host, size_t bytes);
    lk_status (*download)(void *host, const void *device, size_t bytes);
    lk_status (*zero)(void *device, size_t bytes);
    lk_status (*copy)(void *to, const void *from, size_t bytes); /* both on the device */
    /* Bytes of work space; may set c->state for quick lookups.  Shapes are known, addresses not. */
    lk_status (*prepare)(lk_call *c, size_t *work_bytes);
    void (*release)(lk_call *c);
    /* Execute the calls in order; check != 0: look at every output. */
    lk_status (*run)(lk_call *calls, int n_calls, int check);
    const struct lk_optim_kernels *optim; /* NULL: cannot train there */
    /* Until everything asked for is done; NULL: it is when the functions above return. */
    lk_status (*wait)(void);
};

struct lk_graph {
    lk_graph_config config;
    lk_status st;
    lk_node *nodes;
    size_t n_nodes, cap_nodes;
    lk_value *values;
    size_t n_values, cap_values;
    char *scope; /* "a.b." */
    size_t cap_scope;
    int scope_start[64];
    int n_scopes;
    int frozen;
    int segment, n_segments;
    uint64_t n_streams;
    int compiled;
    lk_call *calls;
    size_t n_calls;
    void *arena, *pinned;
    uint64_t step;
    lk_graph_stats stats;
    unsigned char *lead; /* while gradients are recorded: [n_lead] does anything flow to it? */
    int32_t n_lead;
    int32_t *casts; /* [n_casts, 2]: parameter value, its cast */
    size_t n_casts, cap_casts;
};

/* How the backend holds a value of this type. */
lk_dtype lk_graph_held_dtype(const lk_graph *g, lk_dtype dtype);
/* A name for an output in messages: the value's own or its operation's. */
const char *lk_call_value_name(const lk_call *c, int out, char *text, size_t n);

/* recompute.c: copies nodes whose results are better made again than kept. */
lk_status lk_graph_recompute(lk_graph *g);
/* plan.c: places every value; fills stats and the data pointers. */
lk_status lk_graph_plan(lk_graph *g, const size_t *work_bytes);

#ifdef __cplusplus
}
#endif

#endif /* LK_GRAPH_IMPL_H */
