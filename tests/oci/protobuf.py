"""As much of protocol buffers' encoding as clients of containerd's services need."""


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def message(**fields):
    """Protocol buffers' encoding of `_NUMBER=value`: integers, strings, encoded messages, or lists of them."""
    out = b""
    for name, values in fields.items():
        number = int(name.lstrip("_"))
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(value, int):
                out += _varint(number << 3) + _varint(value)
                continue
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def parse(data):
    """The fields of an encoded message: number to list of integers and bytes."""
    fields, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = varint()
            value = data[at : at + size]
            at += size
        fields.setdefault(key >> 3, []).append(value)
    return fields
