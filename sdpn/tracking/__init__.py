"""TensorBoard writer, tag names, and the statistics behind them."""
