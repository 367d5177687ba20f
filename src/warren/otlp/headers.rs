//! Headers of messages, with their values as they are when a message goes: a token that was replaced counts from the next.

use std::{error::Error, fs};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tonic::{
    Status,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
};
use warren_core::trace::{Header, HeaderError};

pub(super) struct Headers(Vec<Header>);

/// What the collector was told, and must not be found where its answers are shown.
pub(super) struct Sent(Vec<String>);

impl Headers {
    pub(super) fn new(headers: Vec<Header>) -> Self {
        Self(headers)
    }

    /// What would keep a message from going now.
    pub(super) fn missing(&self) -> impl Iterator<Item = HeaderError> {
        self.0.iter().filter_map(|header| header.value(|path| fs::read_to_string(path)).err())
    }

    /// Reads the files. No message goes without a header that it should have.
    pub(super) fn put_on(&self, metadata: &mut MetadataMap) -> Result<Sent, HeaderError> {
        let mut sent = Vec::new();
        for header in &self.0 {
            let value = header.value(|path| fs::read_to_string(path))?;
            let unfit = || HeaderError::Text(header.name().to_owned());
            let name = AsciiMetadataKey::from_bytes(header.name().as_bytes()).map_err(|_| unfit())?;
            let mut text = AsciiMetadataValue::try_from(&value).map_err(|_| unfit())?;
            // Not shown by any library, and not kept by either end's table of headers.
            text.set_sensitive(true);
            metadata.insert(name, text);
            sent.push(value);
        }
        Ok(Sent(sent))
    }
}

impl Sent {
    /// A collector may quote what it refuses. What comes from the connection itself quotes nothing.
    pub(super) fn left_out_of(&self, status: Status) -> Status {
        match status.source() {
            Some(_) => status,
            None => Status::new(status.code(), self.left_out_of_text(status.message())),
        }
    }

    pub(super) fn left_out_of_answer(
        &self,
        mut answer: ExportTraceServiceResponse,
    ) -> ExportTraceServiceResponse {
        if let Some(partial) = &mut answer.partial_success {
            partial.error_message = self.left_out_of_text(&partial.error_message);
        }
        answer
    }

    /// Without any word of them: of `Bearer TOKEN` only the token may be quoted.
    fn left_out_of_text(&self, text: &str) -> String {
        let words = self.0.iter().flat_map(|value| value.split(' ')).filter(|word| !word.is_empty());
        words.fold(text.to_owned(), |text, word| text.replace(word, "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_collector_quotes_is_left_out() {
        let mut metadata = MetadataMap::new();
        let headers = ["authorization=Bearer hush", "x-key=quiet"].map(|text| text.parse().unwrap());
        let sent = Headers::new(headers.to_vec()).put_on(&mut metadata).unwrap();
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer hush");
        assert!(!format!("{metadata:?}").contains("hush"), "{metadata:?}");
        let told = sent.left_out_of(Status::unauthenticated("no `hush` and no `quiet` here"));
        assert_eq!((told.code(), told.message()), (tonic::Code::Unauthenticated, "no `…` and no `…` here"));
        let other = sent.left_out_of(Status::from_error("a quiet end".into()));
        assert!(other.source().is_some(), "the cause of what broke stays: {other:?}");
    }
}
