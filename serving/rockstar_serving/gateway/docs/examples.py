"""Inputs that examples show; they can be sent as they are."""

# A seven, 28 x 28 pixels, as PNG.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAPklEQVR42mNgGEqAEUr/xybKhFXLf3ySaMaiamMk"
    "QicTHo0k6kTSSJpOZI0k6UTRSIpOVI0k6ETTiF/noAMA0tcJIMQFETcAAAAASUVORK5CYII="
)
ROWS = [{"petal width": 2.0, "colour": "red"}, {"petal width": 1.5, "colour": "white"}]
ONE_ROW = "petal width,colour\n2.0,red\n"
TABLE = "petal width,colour\n2.0,red\n1.5,white\n"
# What a table model makes of the first row: the number, standardised, and one value per colour.
TENSOR = [2.0, 0.0, 1.0, 0.0]
