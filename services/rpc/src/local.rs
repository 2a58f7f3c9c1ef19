//! Joins two roles of one process: no socket, no encoding.

use std::sync::Arc;

use async_trait::async_trait;
use im_discovery::Endpoint;

use crate::link::{self, Accept, Dial, DialError, Link};
use crate::peers::Connect;

/// Opens links to a role of this process.
pub struct LocalDialer<Out, In> {
    name: String,
    accept: Arc<dyn Accept<In, Out>>,
    queue: usize,
}

impl<Out, In> LocalDialer<Out, In> {
    /// Dials `accept`, which peers know as `name`; `queue` batches may wait in each direction.
    pub fn new(name: impl Into<String>, accept: Arc<dyn Accept<In, Out>>, queue: usize) -> Self {
        Self {
            name: name.into(),
            accept,
            queue,
        }
    }
}

#[async_trait]
impl<Out: Send + 'static, In: Send + 'static> Dial<Out, In> for LocalDialer<Out, In> {
    fn peer(&self) -> &str {
        &self.name
    }

    async fn dial(&self) -> Result<Link<Out, In>, DialError> {
        let (near, far) = link::pair("local", &self.name, self.queue);
        self.accept.accept(far);
        Ok(near)
    }
}

/// Makes a [`LocalDialer`] for whatever endpoint is listed.
pub(crate) struct LocalConnect<Out, In> {
    pub(crate) accept: Arc<dyn Accept<In, Out>>,
    pub(crate) queue: usize,
}

impl<Out: Send + 'static, In: Send + 'static> Connect<Out, In> for LocalConnect<Out, In> {
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<Out, In>> {
        Arc::new(LocalDialer::new(
            endpoint.name.clone(),
            Arc::clone(&self.accept),
            self.queue,
        ))
    }
}
