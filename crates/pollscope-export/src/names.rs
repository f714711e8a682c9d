//! Every attribute name that leaves in a span: OpenTelemetry's from its semantic conventions, pollscope's own
//! below `pollscope.`, and three that `tracing-opentelemetry` made usual.

pub use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_FUNCTION_NAME, CODE_LINE_NUMBER, EXCEPTION_MESSAGE, PROCESS_EXECUTABLE_PATH,
    PROCESS_PID, SERVICE_INSTANCE_ID, SERVICE_NAME, TELEMETRY_SDK_LANGUAGE, TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION, THREAD_ID, THREAD_NAME,
};

/// Instrumentation scope of every span.
pub const SCOPE: &str = "pollscope";
/// Version of the scope.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Time running, nanoseconds.
pub const BUSY: &str = "pollscope.busy_ns";
/// Time ready and waiting for a worker, nanoseconds.
pub const SCHEDULED: &str = "pollscope.scheduled_ns";
/// Time waiting for something, nanoseconds.
pub const IDLE: &str = "pollscope.idle_ns";
/// Polls.
pub const POLLS: &str = "pollscope.polls";
/// The task that the span ran in, or is.
pub const TASK_ID: &str = "pollscope.task.id";
/// How long a clone held the span open after its end, nanoseconds.
pub const HELD: &str = "pollscope.held_ns";
/// The span was dropped before it completed.
pub const CANCELLED: &str = "pollscope.cancelled";
/// It is a task that went on after its local root had ended.
pub const DETACHED: &str = "pollscope.detached";
/// Some of its attributes were lost.
pub const INCOMPLETE: &str = "pollscope.incomplete";
/// Its scheduled time is cut or not known.
pub const ESTIMATED: &str = "pollscope.estimated";
/// It was still open when its process died.
pub const UNFINISHED: &str = "pollscope.unfinished";

/// Module path of a callsite.
pub const TARGET: &str = "target";
/// Level of an event, as `tracing` writes it.
pub const LEVEL: &str = "level";
/// An error, as a field of an event.
pub const ERROR: &str = "error";
/// Name of an event that tells of an error.
pub const EXCEPTION: &str = "exception";
/// An event's text.
pub const MESSAGE: &str = "message";
