// A custom runtime in Rust, on its standard library alone: one connection to the Runtime API, kept, and a function that
// turns its event around.
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

struct Api {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Api {
    fn connect() -> io::Result<Api> {
        let host = env::var("AWS_LAMBDA_RUNTIME_API").expect("the address of the Runtime API");
        let stream = TcpStream::connect(&host)?;
        Ok(Api { host, stream: BufReader::new(stream) })
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<(Option<String>, Vec<u8>)> {
        let head = format!(
            "{} /2018-06-01/runtime/{} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            method, path, self.host, body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut line, mut length, mut id) = (String::new(), 0, None);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().expect("a length"),
                Some((name, value)) if name.eq_ignore_ascii_case("lambda-runtime-aws-request-id") => id = Some(value.trim().to_string()),
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok((id, answer))
    }
}

fn handler(event: &str) -> Result<String, String> {
    if event.contains("fail") {
        return Err("a secret went wrong".to_string());
    }
    if event.contains("panic") {
        panic!("at an event");
    }
    println!("{} bytes", event.len());
    Ok(format!("\"{}\"", event.trim_matches('"').chars().rev().collect::<String>()))
}

fn main() -> io::Result<()> {
    let mut api = Api::connect()?;
    loop {
        let (id, event) = api.call("GET", "invocation/next", b"")?;
        let id = id.expect("the event's id");
        match handler(&String::from_utf8_lossy(&event)) {
            Ok(answer) => api.call("POST", &format!("invocation/{}/response", id), answer.as_bytes())?,
            Err(why) => {
                let document = format!("{{\"errorMessage\":\"{}\",\"errorType\":\"Sad\",\"stackTrace\":[]}}", why);
                api.call("POST", &format!("invocation/{}/error", id), document.as_bytes())?
            }
        };
    }
}
