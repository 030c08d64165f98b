//! What the agent serves, asked over a real connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::SystemTime;

use observer::output::http;
use observer::output::snapshot::{Extras, Shared, Snapshot};
use observer_core::time::Timestamp;

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_agent_is_alive_once_it_works_and_ready_once_it_has_a_report() {
    let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared::default();
    let view = shared.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stop = async {
            let _ = stopped.await;
        };
        runtime.block_on(http::serve(listener, view, stop)).unwrap();
    });

    assert_eq!(get(address, "/healthz").0, 503);
    assert_eq!(get(address, "/readyz").0, 503);
    assert_eq!(get(address, "/metrics"), (200, String::new()));
    assert_eq!(get(address, "/report").0, 503);

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    shared.alive(Timestamp(u64::try_from(now.as_nanos()).unwrap()));
    let report = serde_json::from_str(include_str!("data/audit.json")).unwrap();
    shared.publish(Snapshot { report, extras: Extras::default() });
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz"), (200, "ready\n".to_owned()));
    assert!(get(address, "/metrics").1.contains("trace_sampling_ratio{"));
    assert!(get(address, "/report").1.contains("sampling-audit/v1"));
    assert!(get(address, "/").1.contains("/metrics"));
    assert_eq!(get(address, "/nothing").0, 404);

    shared.alive(Timestamp(0));
    assert_eq!(get(address, "/healthz").0, 503);
    stop.send(()).unwrap();
    server.join().unwrap();
}
