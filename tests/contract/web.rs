//! The line at a web server that keeps what it is given.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::engine::{Line, Place, keep};
use super::support::http::{Reply, Server};
use super::support::world::World;
use super::wire::{Wire, changes};

/// One line adds an action.
pub fn lines() -> Vec<Line<()>> {
    let put = json!({ "url": "@web/thing", "method": "PUT", "body": "kept" });
    let probe = json!({ "name": "http", "url": "@web/thing", "contains": "kept" });
    let back = json!({ "name": "http", "url": "@web/thing", "method": "DELETE", "status": [200, 404] });
    vec![Line::new("http", "a resource", put, ()).explicit(probe, back)]
}

struct Web {
    world: World,
    wire: Wire,
    kept: Arc<Mutex<Option<String>>>,
    _server: Server,
}

impl Place for Web {
    type Before = ();
    type Cutter = Wire;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn cutter(&self) -> &Wire {
        &self.wire
    }

    fn fill(&self, operation: &Value) -> Value {
        serde_json::from_str(&operation.to_string().replace("@web", &self.wire.url())).unwrap()
    }

    async fn reset(&self, (): &()) -> bool {
        *self.kept.lock().unwrap() = None;
        true
    }

    async fn state(&self) -> Value {
        json!(*self.kept.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_of_a_web_server() {
    let kept = Arc::new(Mutex::new(None));
    let server = {
        let kept = Arc::clone(&kept);
        Server::start(move |asked| {
            let mut kept = kept.lock().unwrap();
            match (asked.method.as_str(), kept.clone()) {
                ("PUT", _) => {
                    *kept = Some(asked.body.clone());
                    Reply::ok("")
                }
                ("DELETE", Some(_)) => {
                    *kept = None;
                    Reply::ok("")
                }
                ("GET", Some(there)) => Reply::ok(there),
                _ => Reply::status(404),
            }
        })
    };
    let wire = Wire::to(server.port, changes);
    keep(&mut Web { world: World::new(), wire, kept, _server: server }, &lines()).await;
}
