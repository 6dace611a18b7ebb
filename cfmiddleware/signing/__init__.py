"""CloudFront's keys, policies and signed URLs: made for clients, checked by the edge."""
