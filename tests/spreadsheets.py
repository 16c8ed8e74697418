"""Files of spreadsheet programs, reduced to what identifies them."""

import io
import zipfile


def _zipped(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


XLSX = _zipped({"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>"})
XLS = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
ODS = _zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": ""})
NAMES = {
    "a.xlsx": (XLSX, "an Excel workbook"),
    "a.xls": (XLS, "an Excel workbook"),
    "a.ods": (ODS, "an OpenDocument spreadsheet"),
}
