-- One flush's whole story, found without reading the whole record. The number is read from the canonical bytes, so there is no further column that
-- could say something else. Inside a text every quote is escaped, so nothing that somebody typed can look like this field.
CREATE INDEX log_flush ON audit.log ((substring(encode(canonical, 'escape') FROM '[{,]"flush":([0-9]{1,18})[,}]')), seq)
    WHERE substring(encode(canonical, 'escape') FROM '[{,]"flush":([0-9]{1,18})[,}]') IS NOT NULL;
