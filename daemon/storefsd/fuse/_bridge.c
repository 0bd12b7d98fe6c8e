/* The bridge: lets the kernel open files by itself, takes reads over, and adds four operations that pyfuse3 lacks.
 *
 * pyfuse3 hands most of its handlers the file's handle only. When open and opendir are answered by ENOSYS, the kernel
 * opens files itself, and the handle of every request is 0: the handlers could not tell which file is meant. The
 * inode is known here, one layer below, so here it becomes the handle.
 *
 * How it gets in between: this module defines fuse_session_new and is loaded with RTLD_GLOBAL before pyfuse3, so that
 * the call of pyfuse3 arrives here. The real function gets a copy of pyfuse3's table of operations with ours put in.
 * Until enable() is called, everything passes through untouched.
 *
 * All operations are called by pyfuse3's loop, in its thread, with the interpreter's lock held.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include <fuse3/fuse_lowlevel.h>

/* What is asked of the kernel, where it can: lookups of one directory side by side, targets of symbolic links kept
 * (an inode's never changes), ioctl on directories. */
#define WANTED (FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_IOCTL_DIR)
#define OPENS_ITSELF (FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT)

/* Asynchronous reads in flight: the kernel's own 12 would be a bound on read-ahead. */
#define BACKGROUND_MAX 64

#define STORE_MAX 64 /* files in one call of store() */
#define PARTS_MAX 64 /* pieces of one answer to a read */

static struct fuse_lowlevel_ops theirs; /* pyfuse3's table as it was */
static struct fuse_lowlevel_ops ours;
static PyObject *receiver; /* called for the added operations; NULL until enable() */
static int ioctl_type;     /* the _IOC_TYPE of our verbs: others are answered here */
static struct fuse_session *session;
static int resident; /* whether the kernel can open files by itself */

/* --- operations of pyfuse3 that need the handle (writes come as write_buf; a RELEASE comes with its handle) ------ */

static struct fuse_file_info *with_handle(fuse_ino_t ino, struct fuse_file_info *info)
{
    if (info->fh == 0)
        info->fh = ino;
    return info;
}

static void op_write_buf(fuse_req_t request, fuse_ino_t ino, struct fuse_bufvec *data, off_t offset,
                         struct fuse_file_info *info)
{
    /* The kernel's idea of the size may be old, where another mount has written: the daemon knows where the end is. */
    theirs.write_buf(request, ino, data, info->flags & O_APPEND ? -1 : offset, with_handle(ino, info));
}

static void op_flush(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *info)
{
    theirs.flush(request, ino, with_handle(ino, info));
}

static void op_fsync(fuse_req_t request, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    theirs.fsync(request, ino, data_only, with_handle(ino, info));
}

static void op_fsyncdir(fuse_req_t request, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    theirs.fsyncdir(request, ino, data_only, with_handle(ino, info));
}

static void op_readdirplus(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    theirs.readdirplus(request, ino, size, offset, with_handle(ino, info));
}

/* --- operations that pyfuse3 does not offer, and reads ----------------------------------------------------------- */

#define NUMBER(request) ((unsigned long long)(uintptr_t)(request))

/* Hand a request to the receiver, which answers it later through one of the reply functions below. Takes `arguments`
 * (a tuple, or NULL when making it failed). */
static void hand_over(fuse_req_t request, PyObject *arguments)
{
    PyObject *done = arguments == NULL ? NULL : PyObject_CallObject(receiver, arguments);

    Py_XDECREF(arguments);
    if (done == NULL) {
        PyErr_WriteUnraisable(receiver);
        fuse_reply_err(request, EIO);
    }
    Py_XDECREF(done);
}

/* Not pyfuse3's: its reads make a coroutine for what is in memory, and a copy of what lies in several pieces. */
static void op_read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)info;
    hand_over(request, Py_BuildValue("sKKLn", "read", NUMBER(request), (unsigned long long)ino, (long long)offset,
                                     (Py_ssize_t)size));
}

static void op_lseek(fuse_req_t request, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
    (void)info;
    hand_over(request, Py_BuildValue("sKKLi", "seek", NUMBER(request), (unsigned long long)ino,
                                     (long long)offset, whence));
}

static void op_fallocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *info)
{
    (void)info;
    hand_over(request, Py_BuildValue("sKKiLL", "allocate", NUMBER(request), (unsigned long long)ino, mode,
                                     (long long)offset, (long long)length));
}

static void op_copy_file_range(fuse_req_t request, fuse_ino_t source, off_t source_offset,
                               struct fuse_file_info *source_info, fuse_ino_t target, off_t target_offset,
                               struct fuse_file_info *target_info, size_t length, int flags)
{
    (void)source_info;
    (void)target_info;
    if (flags != 0) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    hand_over(request, Py_BuildValue("sKKLKLn", "copy_range", NUMBER(request), (unsigned long long)source,
                                     (long long)source_offset, (unsigned long long)target, (long long)target_offset,
                                     (Py_ssize_t)length));
}

/* Before libfuse 3.5 the command is an int; its bits are the same. */
static void op_ioctl(fuse_req_t request, fuse_ino_t ino, unsigned int command, void *argument,
                     struct fuse_file_info *info, unsigned flags, const void *input, size_t input_size,
                     size_t output_size)
{
    (void)argument;
    (void)info;
    if (_IOC_TYPE(command) != (unsigned)ioctl_type || (flags & FUSE_IOCTL_COMPAT)) {
        fuse_reply_err(request, ENOTTY); /* isatty() of every opened file comes along here */
        return;
    }
    hand_over(request, Py_BuildValue("sKKIIy#n", "ioctl", NUMBER(request), (unsigned long long)ino,
                                     command, (unsigned int)fuse_req_ctx(request)->uid, input == NULL ? "" : input,
                                     (Py_ssize_t)input_size, (Py_ssize_t)output_size));
}

/* --- the session ------------------------------------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
    theirs.init(userdata, connection);
    /* Where the kernel opens files itself, it would also truncate them itself, and the daemon never hear of it. */
    connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    connection->want |= connection->capable & WANTED;
    connection->max_background = BACKGROUND_MAX;
    connection->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    resident = (connection->capable & OPENS_ITSELF) == OPENS_ITSELF;
}

static const struct fuse_lowlevel_ops *bridged(const struct fuse_lowlevel_ops *table, size_t *size)
{
    if (receiver == NULL || *size > sizeof theirs)
        return table;
    memset(&theirs, 0, sizeof theirs);
    memcpy(&theirs, table, *size);
    ours = theirs;
    ours.init = op_init;
    ours.read = op_read;
    ours.write_buf = op_write_buf;
    ours.flush = op_flush;
    ours.fsync = op_fsync;
    ours.fsyncdir = op_fsyncdir;
    ours.readdirplus = op_readdirplus;
    ours.lseek = op_lseek;
    ours.fallocate = op_fallocate;
    ours.copy_file_range = op_copy_file_range;
    ours.ioctl = op_ioctl;
    *size = sizeof ours;
    return &ours;
}

/* Callers of libfuse 3.17 and later use the second name, with a version that is passed on. */
#undef fuse_session_new
struct libfuse_version;
struct fuse_session *fuse_session_new(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *);
struct fuse_session *fuse_session_new_versioned(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                                struct libfuse_version *, void *);

struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *table, size_t size,
                                      void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *);

    *(void **)&real = dlsym(RTLD_NEXT, "fuse_session_new");
    table = bridged(table, &size);
    return session = real == NULL ? NULL : real(args, table, size, userdata);
}

struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *table,
                                                size_t size, struct libfuse_version *version, void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                 struct libfuse_version *, void *);

    *(void **)&real = dlsym(RTLD_NEXT, "fuse_session_new_versioned");
    table = bridged(table, &size);
    return session = real == NULL ? NULL : real(args, table, size, version, userdata);
}

/* --- the module -------------------------------------------------------------------------------------------------- */

static PyObject *enable(PyObject *module, PyObject *arguments)
{
    PyObject *callable;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oi", &callable, &ioctl_type))
        return NULL;
    Py_XSETREF(receiver, Py_NewRef(callable));
    Py_RETURN_NONE;
}

static PyObject *is_resident(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyBool_FromLong(resident);
}

/* The reply functions end a request: it must not be used again, whatever they return (0 or -errno). */

static PyObject *reply_number(PyObject *module, PyObject *arguments)
{
    unsigned long long number;
    long long value;
    fuse_req_t request;
    int kind;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "KCL", &number, &kind, &value))
        return NULL;
    request = (fuse_req_t)(uintptr_t)number;
    return PyLong_FromLong(kind == 'o'   ? fuse_reply_lseek(request, (off_t)value)
                           : kind == 'c' ? fuse_reply_write(request, (size_t)value)
                                         : fuse_reply_err(request, (int)value));
}

static PyObject *reply_ioctl(PyObject *module, PyObject *arguments)
{
    unsigned long long request;
    const char *output;
    Py_ssize_t size;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "Ky#", &request, &output, &size))
        return NULL;
    return PyLong_FromLong(fuse_reply_ioctl((fuse_req_t)(uintptr_t)request, 0, output, (size_t)size));
}

static PyObject *reply_parts(PyObject *module, PyObject *arguments)
{
    unsigned long long request;
    Py_buffer views[PARTS_MAX];
    struct iovec parts[PARTS_MAX];
    PyObject *items;
    Py_ssize_t count, held = 0;
    int result = 0;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "KO!", &request, &PyTuple_Type, &items))
        return NULL;
    count = PyTuple_GET_SIZE(items);
    while (held < count && held < PARTS_MAX && !PyObject_GetBuffer(PyTuple_GET_ITEM(items, held), &views[held], 0)) {
        parts[held] = (struct iovec){views[held].buf, (size_t)views[held].len};
        held++;
    }
    if (held == count) {
        Py_BEGIN_ALLOW_THREADS
        result = fuse_reply_iov((fuse_req_t)(uintptr_t)request, parts, (int)count);
        Py_END_ALLOW_THREADS
    }
    for (Py_ssize_t at = 0; at < held; at++)
        PyBuffer_Release(&views[at]);
    if (held < count && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "too many parts");
    return held < count ? NULL : PyLong_FromLong(result);
}

/* Many files in one call, because a thread that takes the interpreter's lock for each would hold up the loop and be
 * held up by it. */
static PyObject *store(PyObject *module, PyObject *arguments)
{
    unsigned long long ino[STORE_MAX];
    struct fuse_bufvec data[STORE_MAX];
    PyObject *items, *content;
    Py_ssize_t count, at;
    int stored = 0;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!", &PyTuple_Type, &items))
        return NULL;
    count = PyTuple_GET_SIZE(items);
    if (session == NULL || count > STORE_MAX) {
        PyErr_SetString(PyExc_ValueError, "no session, or too many files at once");
        return NULL;
    }
    for (at = 0; at < count; at++) {
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(items, at), "KS", &ino[at], &content))
            return NULL;
        data[at] = FUSE_BUFVEC_INIT((size_t)PyBytes_GET_SIZE(content));
        data[at].buf[0].mem = PyBytes_AS_STRING(content); /* the caller holds the tuple, which holds the bytes */
    }
    Py_BEGIN_ALLOW_THREADS
    for (at = 0; at < count; at++)
        stored += fuse_lowlevel_notify_store(session, (fuse_ino_t)ino[at], 0, &data[at], 0) == 0;
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(stored);
}

static PyMethodDef methods[] = {
    {"enable", enable, METH_VARARGS,
     "enable(receiver, ioctl_type): bridge the next session. receiver(name, request, ...) is called for the added\n"
     "operations and must see that each request is ended by one reply."},
    {"is_resident", is_resident, METH_NOARGS, "Whether the kernel said that it can open files by itself."},
    {"reply_number", reply_number, METH_VARARGS,
     "reply_number(request, kind, value): end a request by 'e' an errno (0: done), 'o' an offset, 'c' a count."},
    {"reply_ioctl", reply_ioctl, METH_VARARGS, "reply_ioctl(request, output): end an ioctl."},
    {"reply_parts", reply_parts, METH_VARARGS, "reply_parts(request, (bytes-like, ...)): end a read; 64 parts at most."},
    {"store", store, METH_VARARGS, "store(((inode, bytes), ...)): put whole files into the page cache; how many took."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "storefsd.fuse._bridge",
    .m_doc = "Sits between pyfuse3 and libfuse; see the top of _bridge.c.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__bridge(void)
{
    return PyModule_Create(&definition);
}
