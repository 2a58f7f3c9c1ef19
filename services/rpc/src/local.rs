//! Joins two roles of one process: no socket, no encoding.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use im_config::LinkConfig;
use im_discovery::Endpoint;

use crate::grpc::LinkKind;
use crate::link::{self, Accept, Dial, DialError, Link};
use crate::peers::{Connect, Peers};

/// The roles of one process, as they find each other.
#[derive(Default)]
pub struct Local {
    /// By kind of link; of type `Arc<dyn Accept<K::Item, K::Call>>`.
    servers: HashMap<&'static str, Box<dyn Any + Send>>,
}

impl Local {
    /// Links of this kind are served by `accept`.
    pub fn serve<K: LinkKind>(&mut self, accept: Arc<dyn Accept<K::Item, K::Call>>) {
        self.servers.insert(K::LINK.kind, Box::new(accept));
    }

    /// The only server of this kind, known by the name of its role; `None` when it is not in this process.
    pub fn peers<K: LinkKind>(&self, config: &LinkConfig) -> Option<Peers<K::Call, K::Item>> {
        let accept = self.servers.get(K::LINK.kind)?;
        let accept = accept.downcast_ref::<Arc<dyn Accept<K::Item, K::Call>>>()?;
        Some(Peers::local(K::LINK.to.name, Arc::clone(accept), config))
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.servers.keys()).finish()
    }
}

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
