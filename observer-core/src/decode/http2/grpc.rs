//! gRPC over HTTP/2: content types and status codes (grpc/doc/PROTOCOL-HTTP2.md).

/// Whether a content type is that of gRPC: `application/grpc`, with a message format or not. gRPC-Web is another protocol.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.split_at_checked(GRPC.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

/// The HTTP status that stands for a gRPC status (google/rpc/code.proto). Of 500 and above are those that are an error of the
/// server to OpenTelemetry too (semantic conventions for gRPC).
pub(super) fn http_status(grpc_status: u16) -> u16 {
    match grpc_status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        // UNKNOWN, INTERNAL, DATA_LOSS, and what has no meaning, which a client takes for UNKNOWN.
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), expected, "{content_type}");
        }
    }

    #[test]
    fn errors_of_the_server_are_those_of_the_semantic_conventions() {
        let errors: Vec<u16> = (0..17).filter(|&status| http_status(status) >= 500).collect();
        assert_eq!(errors, [2, 4, 12, 13, 14, 15]);
    }
}
