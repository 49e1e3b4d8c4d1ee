//! Builds for the web and serves the result.

mod files;

use std::io::Cursor;
use std::path::Path;
use std::thread;

use clap::Args;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::error::{Failure, Result};
use crate::web;
use crate::workspace::Workspace;
use files::Found;

const THREADS: usize = 4;

/// How to serve.
#[derive(Args)]
pub struct Options {
    /// The port on this machine.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Serve what is there without building.
    #[arg(long)]
    no_build: bool,
}

/// Serves `www/` until it is interrupted.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !options.no_build {
        web::run(workspace, &web::Options::RELEASE)?;
    }
    let server = listen(options.port)?;
    println!("http://127.0.0.1:{}/demos/draw/", options.port);
    println!("Press Ctrl-C to stop.");
    serve(&server, &workspace.www());
    Ok(())
}

fn listen(port: u16) -> Result<Server> {
    Server::http(("127.0.0.1", port)).map_err(|cause| {
        Failure::new(format!(
            "cannot listen on port {port}: {cause}; choose another with --port"
        ))
    })
}

fn serve(server: &Server, root: &Path) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for request in server.incoming_requests() {
                    answer(request, root);
                }
            });
        }
    });
}

fn answer(request: Request, root: &Path) {
    let response = match request.method() {
        Method::Get | Method::Head => respond(files::find(root, request.url())),
        _ => text(405, "only GET and HEAD"),
    };
    // The browser may have gone away; there is nobody to tell.
    let _ = request.respond(response);
}

fn respond(found: Found) -> Response<Cursor<Vec<u8>>> {
    match found {
        Found::File { path, kind } => match std::fs::read(&path) {
            Ok(bytes) => with(Response::from_data(bytes), "Content-Type", kind),
            Err(_) => text(404, "not found"),
        },
        Found::Redirect(location) => with(text(301, "moved"), "Location", &location),
        Found::Nothing => text(404, "not found"),
    }
}

fn text(status: u16, message: &str) -> Response<Cursor<Vec<u8>>> {
    let body = Response::from_data(message.as_bytes()).with_status_code(status);
    with(body, "Content-Type", "text/plain; charset=utf-8")
}

/// Adds a header, and forbids caching, which would hide a rebuild.
fn with(response: Response<Cursor<Vec<u8>>>, name: &str, value: &str) -> Response<Cursor<Vec<u8>>> {
    [(name, value), ("Cache-Control", "no-store")]
        .into_iter()
        .filter_map(|(name, value)| Header::from_bytes(name, value).ok())
        .fold(response, Response::with_header)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;

    use super::*;

    fn ask(port: u16, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_are_served_and_nothing_above_the_root() {
        let folder = std::env::temp_dir().join(format!("xtask-demo-{}", std::process::id()));
        let root = folder.join("www");
        fs::create_dir_all(root.join("demos/draw")).unwrap();
        fs::write(root.join("demos/draw/index.html"), "<p>draw").unwrap();
        fs::write(root.join("a.wasm"), "wasm").unwrap();
        fs::write(folder.join("secret.txt"), "secret").unwrap();
        let server = Arc::new(listen(0).unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let served = Arc::clone(&server);
        // Ends with the process: tiny_http can wake its threads only one at a time.
        thread::spawn(move || serve(&served, &root));

        let page = ask(port, "GET", "/demos/draw/?x=1");
        assert!(
            page.starts_with("HTTP/1.1 200") && page.ends_with("<p>draw"),
            "{page}"
        );
        let wasm = ask(port, "GET", "/a.wasm");
        assert!(
            wasm.contains("Content-Type: application/wasm\r\n"),
            "{wasm}"
        );
        assert!(wasm.contains("Cache-Control: no-store\r\n"), "{wasm}");
        let moved = ask(port, "GET", "/demos/draw");
        assert!(moved.contains("Location: /demos/draw/\r\n"), "{moved}");
        for path in [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/demos/..%2f..%2fsecret.txt",
        ] {
            let answer = ask(port, "GET", path);
            assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        }
        assert!(ask(port, "POST", "/a.wasm").starts_with("HTTP/1.1 405"));

        fs::remove_dir_all(folder).unwrap();
    }
}
