//! Log lines on standard error, as text or JSON. People's names and addresses are never above DEBUG.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Sends the process's log lines to standard error; `filter` was checked by the command line's parser.
pub fn start(format: LogFormat, filter: &str) {
    let builder =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(EnvFilter::new(filter));
    match format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
