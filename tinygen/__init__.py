"""tinygen."""
from tinygen.autograd import *
