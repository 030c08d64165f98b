"""TLS by an OpenSSL that is not the interpreter's, through its C interface: sockets come in, what does for one in clear goes out.

OPENSSL is a directory with its libraries, by whatever names. Nobody is verified.
"""

import ctypes
import glob
import http.client
import io
import os
import types
import urllib.parse

FILETYPE_PEM = 1  # SSL_FILETYPE_PEM of openssl/ssl.h


def library(name):
    [file] = glob.glob(f"{os.environ['OPENSSL']}/{name}*")
    return ctypes.CDLL(file)


CRYPTO = library("libcrypto")  # which the other one needs
SSL = library("libssl")
for function in (SSL.TLS_method, SSL.SSL_CTX_new, SSL.SSL_new):
    function.restype = ctypes.c_void_p


def context():
    return ctypes.c_void_p(SSL.SSL_CTX_new(ctypes.c_void_p(SSL.TLS_method())))


def server_context(certificate, key):
    made = context()
    assert SSL.SSL_CTX_use_certificate_file(made, certificate.encode(), FILETYPE_PEM) == 1
    assert SSL.SSL_CTX_use_PrivateKey_file(made, key.encode(), FILETYPE_PEM) == 1
    return made


class Socket:
    """As much of an encrypted socket as http.server and http.client use; it shakes hands when it is first used."""

    def __init__(self, socket, context, serves):
        self.socket, self.session = socket, ctypes.c_void_p(SSL.SSL_new(context))
        assert SSL.SSL_set_fd(self.session, socket.fileno()) == 1
        (SSL.SSL_set_accept_state if serves else SSL.SSL_set_connect_state)(self.session)

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def sendall(self, data):
        data = bytes(data)
        assert SSL.SSL_write(self.session, data, len(data)) == len(data)

    def makefile(self, *_):
        return io.BufferedReader(Received(self.session))

    def close(self):
        SSL.SSL_free(self.session)
        self.session = None
        self.socket.close()


class Received(io.RawIOBase):
    def __init__(self, session):
        self.session = session

    def readable(self):
        return True

    def readinto(self, buffer):
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        return max(SSL.SSL_read(self.session, view, len(buffer)), 0)


class Session:
    """Requests over one connection that is kept, as those of requests."""

    def __init__(self):
        self.connection = None

    def get(self, url, headers):
        url = urllib.parse.urlsplit(url)
        if not self.connection:
            self.connection = http.client.HTTPConnection(url.netloc)
            self.connection.connect()
            self.connection.sock = Socket(self.connection.sock, context(), serves=False)
        self.connection.request("GET", url.path, headers=headers)
        answer = self.connection.getresponse()
        return types.SimpleNamespace(status_code=answer.status, content=answer.read())
