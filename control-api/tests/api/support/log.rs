use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use serde_json::Value;
use tracing_subscriber::EnvFilter;

thread_local! {
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What the calling thread logs from now on; a test's server runs on the test's own thread.
pub struct Log;

impl Log {
    /// Begins. One subscriber serves all tests of the program: tracing asks a subscriber of one thread only while no
    /// other thread has come by the same place first.
    pub fn start() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let filter = EnvFilter::new("info,nexa_control=trace");
            tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| Self).init();
        });
        LINES.set(Some(Vec::new()));
        Self
    }

    /// The lines so far, with their fields beside `level`, `target` and `span`.
    pub fn lines(&self) -> Vec<Value> {
        let text = LINES.with_borrow(|lines| lines.clone().unwrap_or_default());
        let read = |line: &[u8]| {
            let mut line: Value = serde_json::from_slice(line).unwrap();
            let fields = line["fields"].take();
            line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            line
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.as_mut().map_or(Ok(bytes.len()), |lines| lines.write(bytes)))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
