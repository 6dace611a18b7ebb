"""The CloudFront Function that puts ``Docker-Content-Digest`` on the answers to pulls, as the local edge can.

The OCI conformance suite asks for the header on the last answer to a pull, and a plain CloudFront answer has
none. A function on *viewer response* runs on every answer below 400, from the cache as well.
"""

from __future__ import annotations

#: JavaScript for the runtime ``cloudfront-js-2.0``. It knows the same paths as the local edge.
FUNCTION = r"""function handler(event) {
    var blob = /\/(sha256|sha512)\/(?:[0-9a-f]{2}\/)?([0-9a-f]+)(?:\/data)?$/.exec(event.request.uri);
    if (blob && blob[2].length === (blob[1] === 'sha256' ? 64 : 128)) {
        event.response.headers['docker-content-digest'] = {value: blob[1] + ':' + blob[2]};
    }
    return event.response;
}
"""
