//! Stopping on request, so that what was learned can be saved.

use std::ops::ControlFlow;
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

/// Signals that come within this time are one request: a terminal that is closed sends SIGHUP twice, and whoever ends
/// services may send SIGTERM and SIGHUP at once.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Breaks a training loop after Ctrl-C, SIGTERM or SIGHUP.
pub fn unless_interrupted() -> impl Fn() -> ControlFlow<()> {
    static ASKED: OnceLock<Instant> = OnceLock::new();
    static HANDLERS: Once = Once::new();
    let heard = || {
        let first = ASKED.get_or_init(Instant::now);
        // A second Ctrl-C means it.
        if first.elapsed() > ONE_REQUEST {
            std::process::exit(130);
        }
    };
    HANDLERS.call_once(|| {
        keeping_nohup(|| {
            // Where there are no signals, training goes on to its end.
            let _ = ctrlc::set_handler(heard);
        });
    });
    || match ASKED.get() {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    }
}

/// Sets handlers, but leaves SIGHUP ignored where it is, as under `nohup`.
#[cfg(unix)]
fn keeping_nohup(set: impl FnOnce()) {
    use nix::sys::signal::{SigHandler, Signal, signal};

    // SAFETY: no code of ours runs in these handlers.
    let ignore = || unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    let before = ignore();
    set();
    if matches!(before, Ok(SigHandler::SigIgn)) {
        let _ = ignore();
    }
}

#[cfg(not(unix))]
fn keeping_nohup(set: impl FnOnce()) {
    set();
}
