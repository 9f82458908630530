"""How an export's file is called, and of what type it is."""

from meterport.domain.exports import ExportRequest
from meterport.domain.options import Layout
from meterport.encoders import FORMATS
from meterport.encoders.compression import WRAPPINGS


def filename(request: ExportRequest) -> str:
    extension = FORMATS[request.format].extension
    if request.options.layout is Layout.FILE_PER_METER:
        return request.filename("zip")
    wrapping = WRAPPINGS.get(request.compression)
    return request.filename(extension + (wrapping.ending if wrapping else ""))


def media_type(request: ExportRequest) -> str:
    if request.options.layout is Layout.FILE_PER_METER:
        return "application/zip"
    wrapping = WRAPPINGS.get(request.compression)
    return wrapping.media_type if wrapping else FORMATS[request.format].media_type
