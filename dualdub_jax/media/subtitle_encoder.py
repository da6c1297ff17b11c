"""Encoding subtitles for a container: new tracks, and those of a film that a copy has to have otherwise.

libavcodec's encoders take SubStation Alpha; of its styles, bold and italic text reach the other formats.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

import av
from av.subtitles.subtitle import SubtitleSet

from dualdub_jax.media.new_tracks import SubtitleTrack

_TIME_BASE = Fraction(1, 1000)
_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, \
MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_NUM_FIELDS = 9  # of an event, the text being the last
_COMMAND = re.compile(r"(\{[^}]*\})")


class SubtitleEncoder:
    """A subtitle stream of an open target.

    Attributes:
        stream: the target's.
    """

    def __init__(self, target: av.container.OutputContainer, codec: str) -> None:
        """Adds the stream; `codec` is the name of an encoder of text."""
        self._codec, self._num_encoded = codec, 0
        self.stream = target.add_stream(codec)
        self.stream.time_base = _TIME_BASE
        self.stream.codec_context.subtitle_header = _HEADER

    def packets(self, track: SubtitleTrack) -> Iterator[tuple[Fraction, list[av.Packet]]]:
        """Yields a packet for each line of a new track, with the time in seconds at which it begins."""
        for line in track.lines:
            # A brace begins a command of SubStation Alpha, and a backslash may.
            text = line.labelled.translate({ord("{"): "(", ord("}"): ")", ord("\\"): "/"})
            yield line.start_s, [self.encode(text.replace("\n", "\\N"), line.start_s, line.end_s)]

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """What to write for a packet of another stream of text, whose times are those of the target."""
        if packet.pts is None:
            return []
        try:
            decoded = packet.stream.codec_context.decode2(packet)
        except av.error.FFmpegError:  # damaged: no player shows it
            return []
        texts = [_text(part.ass) for part in decoded or ()]
        start_s = packet.pts * packet.time_base
        end_s = start_s + (packet.duration or 0) * packet.time_base
        text = "\\N".join(text for text in texts if text)
        return [self.encode(text, start_s, end_s)] if text else []

    def encode(self, text: str, start_s: Fraction, end_s: Fraction) -> av.Packet:
        """The packet of a text with commands of SubStation Alpha, times in seconds."""
        start, end = round(start_s / _TIME_BASE), round(end_s / _TIME_BASE)
        if self._codec == "webvtt":  # the encoder escapes nothing
            pieces = _COMMAND.split(text)
            text = "".join(piece if piece.startswith("{") else _escape(piece) for piece in pieces)
        event = f"{self._num_encoded},0,Default,,0,0,0,,{text}"
        self._num_encoded += 1
        subtitle = SubtitleSet.create(event.encode(), 0, end - start, start * 1000)
        packet = self.stream.codec_context.encode_subtitle(subtitle)
        packet.stream, packet.time_base = self.stream, _TIME_BASE
        packet.pts = packet.dts = start
        packet.duration = end - start
        return packet


def _text(event: bytes) -> str:
    """The text of an event of SubStation Alpha, with its commands."""
    fields = event.decode(errors="replace").split(",", _NUM_FIELDS - 1)
    return fields[-1].strip() if len(fields) == _NUM_FIELDS else ""


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
