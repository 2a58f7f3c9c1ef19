//! What a running process tells about its inside on request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

type Dumper = Arc<dyn Fn() -> Value + Send + Sync>;

/// Named functions that describe the present state: connections, queues, tasks.
#[derive(Clone, Default)]
pub struct Dumps(Arc<Mutex<BTreeMap<String, Dumper>>>);

impl Dumps {
    /// Registers a part of the dump. The function must be quick and must not block.
    pub fn register(&self, name: &str, dump: impl Fn() -> Value + Send + Sync + 'static) {
        let mut dumpers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dumpers.insert(name.to_owned(), Arc::new(dump));
    }

    /// All parts by name.
    pub fn dump(&self) -> Value {
        // The functions run without the lock: they may take others.
        let dumpers = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Value::Object(
            dumpers
                .into_iter()
                .map(|(name, dump)| (name, dump()))
                .collect::<Map<_, _>>(),
        )
    }
}

impl fmt::Debug for Dumps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dumps").finish_non_exhaustive()
    }
}
