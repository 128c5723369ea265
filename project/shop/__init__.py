"""A shop that fulfils orders durably: stock, payment, approval, shipping and daily reports."""
