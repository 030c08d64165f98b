//! NATS as peers write it.

pub(crate) const INFO: &[u8] =
    b"INFO {\"server_id\":\"NATPQ\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576} \r\n";
pub(crate) const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n";

/// A line that announces a message, and the message; `words` are those between the verb and the lengths.
pub(crate) fn message(verb: &str, words: &str, headers: Option<&[(&str, &str)]>, payload: &[u8]) -> Vec<u8> {
    match headers {
        None => [format!("{verb} {words} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat(),
        Some(headers) => {
            let lines = headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect::<String>();
            block(verb, words, format!("NATS/1.0\r\n{lines}\r\n").as_bytes(), payload)
        }
    }
}

/// A message with headers of any bytes.
pub(crate) fn block(verb: &str, words: &str, headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let line = format!("H{verb} {words} {} {}\r\n", headers.len(), headers.len() + payload.len());
    [line.as_bytes(), headers, payload, b"\r\n"].concat()
}
