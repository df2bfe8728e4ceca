//! Here is a request whose body nobody may want, let the caller finish sending it.
//!
//! A connection that is closed while its caller is still sending is reset, and the caller never sees why (RFC 9112
//! §9.6). So the rest of a body that was refused half-way is read and thrown away before the refusal goes out, within
//! bounds. HTTP/2 needs none of this: a stream is ended without its connection (RFC 9113 §8.1).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::Version;
use axum::http::header::EXPECT;
use http_body::{Frame, SizeHint};

/// Bytes thrown away at most; an upload may be as large.
const MAX_BYTES: usize = 256 << 20;

/// Time for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a request, which a handler reads and gives up when it likes.
#[derive(Clone)]
pub(super) struct Leftover(Arc<State>);

struct State {
    body: Mutex<Body>,
    /// A caller that waits for "100 Continue" is told to go on by the first read, so nothing may be read only to
    /// throw it away.
    waits_to_be_asked: AtomicBool,
    version: Version,
}

impl Leftover {
    /// Keeps hold of the body that `request` carries.
    pub(super) fn of(request: Request) -> (Request, Leftover) {
        let (parts, body) = request.into_parts();
        let waits_to_be_asked = AtomicBool::new(parts.headers.contains_key(EXPECT));
        let state = State { body: Mutex::new(body), waits_to_be_asked, version: parts.version };
        let leftover = Leftover(Arc::new(state));
        (Request::from_parts(parts, Body::new(leftover.clone())), leftover)
    }

    /// Reads what is left and throws it away.
    pub(super) async fn discard(self) {
        if self.0.waits_to_be_asked.load(Ordering::Relaxed) || self.0.version > Version::HTTP_11 {
            return;
        }
        let read_all = async {
            let mut n_bytes = 0;
            while n_bytes <= MAX_BYTES {
                let frame = std::future::poll_fn(|context| Pin::new(&mut *self.lock()).poll_frame(context)).await;
                let Some(Ok(frame)) = frame else { return };
                n_bytes += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // A caller that is slower than that meets the reset.
        let _ = tokio::time::timeout(PATIENCE, read_all).await;
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Leftover {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.waits_to_be_asked.store(false, Ordering::Relaxed);
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_unless_the_caller_waits_to_be_asked() {
        for (expect, left) in [(None, 0), (Some("100-continue"), 7)] {
            let mut request = Request::post("/");
            if let Some(expect) = expect {
                request = request.header(EXPECT, expect);
            }
            let (request, leftover) = Leftover::of(request.body(Body::from("rubbish")).unwrap());
            drop(request);
            let rest = leftover.clone();
            leftover.discard().await;
            assert_eq!(rest.size_hint().exact(), Some(left), "{expect:?}");
        }
    }
}
