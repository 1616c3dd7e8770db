"""TensorBoard: the one writer, tag names, and the statistics behind them."""
