//! Frames to bytes.

use bytes::{BufMut, BytesMut};

use super::{
    CALLER_MAX, DETAIL_MAX, Frame, HEADER_LEN, NAME_MAX, OpenRequest, ResumePoint, codes::FrameType,
};

/// Appends one frame. Over-long text is cut at a character, so that encoding cannot fail.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    header(out, frame.frame_type(), frame.session(), 0);
    match frame {
        Frame::Hello(hello) => {
            out.put_u16(hello.version_min);
            out.put_u16(hello.version_max);
            out.put_u64(hello.features);
            out.put_u64(hello.boot);
            out.put_u64(hello.epoch);
            out.put_u16(hello.slot);
            out.put_u32(hello.window);
            out.put_u32(hello.max_frame);
            out.put_u64(hello.place);
        }
        Frame::Open { request, .. } => put_open(out, request),
        Frame::OpenAck { result, window, detail, .. } => {
            out.put_u8(result.code());
            out.put_u32(*window);
            put_detail(out, detail);
        }
        Frame::Data { offset, bytes, .. } => {
            out.put_u64(*offset);
            out.put_slice(bytes);
        }
        Frame::Credit { consumed, window, .. } => {
            out.put_u64(*consumed);
            out.put_u32(*window);
        }
        Frame::Fin { offset, .. } => out.put_u64(*offset),
        Frame::Reset { reason, detail, .. } => {
            out.put_u8(reason.code());
            put_detail(out, detail);
        }
        Frame::Ping { nonce } | Frame::Pong { nonce } => out.put_u64(*nonce),
        Frame::Drain { deadline_ms, detail } => {
            out.put_u32(*deadline_ms);
            put_detail(out, detail);
        }
        Frame::Close { reason, detail } => {
            out.put_u8(reason.code());
            put_detail(out, detail);
        }
        Frame::Resume { point, .. } => put_point(out, point),
        Frame::ResumeAck { result, point, .. } => {
            out.put_u8(result.code());
            put_point(out, point);
        }
        Frame::Forsaken { epoch } | Frame::Settled { epoch } => out.put_u64(*epoch),
    }
    let length = (out.len() - start - HEADER_LEN) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
}

/// Appends header and offset of a data frame whose `len` bytes follow as pieces of their own, uncopied.
pub fn encode_data_header(session: u64, offset: u64, len: usize, out: &mut BytesMut) {
    header(out, FrameType::Data, session, len as u32 + 8);
    out.put_u64(offset);
}

/// The longest head of `text` that fits in `max` bytes and ends at a character.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn header(out: &mut BytesMut, kind: FrameType, session: u64, length: u32) {
    out.put_u8(kind.code());
    out.put_u8(0);
    out.put_u16(0);
    out.put_u32(length);
    out.put_u64(session);
}

fn put_point(out: &mut BytesMut, point: &ResumePoint) {
    out.put_u64(point.received);
    out.put_u64(point.consumed);
    out.put_u32(point.window);
    out.put_u8(point.finished.into());
}

fn put_open(out: &mut BytesMut, request: &OpenRequest) {
    out.put_u8(request.kind.code());
    out.put_u32(u32::try_from(request.deadline.as_millis()).unwrap_or(u32::MAX));
    out.put_u64(request.min_revision);
    out.put_slice(&request.trace);
    for (text, max) in [(&request.name, NAME_MAX), (&request.caller, CALLER_MAX)] {
        let text = clip(text, max);
        out.put_u8(text.len() as u8);
        out.put_slice(text.as_bytes());
    }
}

fn put_detail(out: &mut BytesMut, detail: &str) {
    let detail = clip(detail, DETAIL_MAX);
    out.put_u16(detail.len() as u16);
    out.put_slice(detail.as_bytes());
}
