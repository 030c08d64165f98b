// A service over TLS in Java, by its own library (JSSE): HttpsServer and java.net.http.
//
//     java Service.java NAME LISTEN NEXT PEER LOG    as service.py; NEXT is called for each request
//
// CERTIFICATE and KEY are files.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Service {
    static PrintStream log;
    static String next, peer;
    static HttpClient client;

    public static void main(String[] arguments) throws Exception {
        String[] listen = arguments[1].split(":");
        next = arguments[2];
        peer = arguments[3];
        log = new PrintStream(arguments[4]);
        SSLContext context = context();
        client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(context).build();
        HttpsServer server = HttpsServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context));
        server.createContext("/", Service::handle);
        server.start();
        System.out.println("ready");
    }

    /** Its key and certificate, which it trusts, too. */
    static SSLContext context() throws Exception {
        byte[] pem = Files.readAllBytes(Path.of(System.getenv("CERTIFICATE")));
        Certificate certificate = CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(pem));
        String text = Files.readString(Path.of(System.getenv("KEY"))).replaceAll("-----[A-Z ]+-----", "");
        byte[] key = Base64.getMimeDecoder().decode(text);
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry(
                "own",
                KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(key)),
                new char[0],
                new Certificate[] {certificate});
        store.setCertificateEntry("trusted", certificate);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, new char[0]);
        TrustManagerFactory trusted = TrustManagerFactory.getInstance("PKIX");
        trusted.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trusted.getTrustManagers(), null);
        return context;
    }

    static void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            Map<String, String> cause = new TreeMap<>();
            for (String name : new String[] {"traceparent", "x-tenant-id"}) {
                String value = exchange.getRequestHeaders().getFirst(name);
                if (value != null) cause.put(name, value);
            }
            String path = exchange.getRequestURI().getPath();
            write("in", path, cause, "");
            call(path, cause);
            exchange.sendResponseHeaders(200, 3000);
            exchange.getResponseBody().write(new byte[3000]);
        }
    }

    static void call(String path, Map<String, String> cause) throws IOException {
        Map<String, String> headers = new TreeMap<>(cause);
        if (path.equals("/loses")) {
            headers.remove("traceparent");
        } else {
            String own = String.format("-%016x-", ThreadLocalRandom.current().nextLong(1, Long.MAX_VALUE));
            headers.computeIfPresent("traceparent", (name, parent) -> parent.replaceFirst("-[0-9a-f]{16}-", own));
        }
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create("https://" + next + path));
        headers.forEach(request::header);
        write("out", path, headers, ",\"peer\":\"" + peer + "\",\"cause\":" + json(cause));
        try {
            int status = client.send(request.build(), BodyHandlers.discarding()).statusCode();
            if (status != 200) throw new IOException("status " + status);
        } catch (InterruptedException stopped) {
            throw new IOException(stopped);
        }
    }

    static synchronized void write(String kind, String path, Map<String, String> headers, String more) {
        Instant now = Instant.now();
        log.printf(
                "{\"kind\":\"%s\",\"at_ns\":%d%09d,\"path\":\"%s\",\"status\":200,\"headers\":%s%s}%n",
                kind, now.getEpochSecond(), now.getNano(), path, json(headers), more);
    }

    static String json(Map<String, String> headers) {
        return headers.entrySet().stream()
                .map(header -> "\"" + header.getKey() + "\":\"" + header.getValue() + "\"")
                .collect(Collectors.joining(",", "{", "}"));
    }
}
