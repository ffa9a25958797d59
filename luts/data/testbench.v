// Streams the vectors through the array, tile by tile, adds the tiles' sums up, and compares them
// with the accumulators. Prints PASSED or FAILED. Run it from the folder above `rtl`.
`default_nettype wire

module testbench;
  parameter ROWS = 8;
  parameter COLUMNS = 4;

  reg clock = 1'b0;
  reg load = 1'b0;
  reg [8*COLUMNS-1:0] weights;
  reg [COLUMNS-1:0] used;
  reg [8*ROWS-1:0] activations;
  reg [32*COLUMNS-1:0] sums;
  integer chosen = 0;

  // Of the site at hand: codes [position][product], codes [product][channel], sums
  // [position][channel].
  reg [7:0] activation_codes[0:$most_activations - 1];
  reg [7:0] weight_codes[0:$most_weights - 1];
  reg signed [31:0] expected[0:$most_sums - 1];
  reg signed [31:0] totals[0:$most_sums - 1];

  integer errors = 0;
  integer checked = 0;
  integer errors_before;

  always #5 clock = ~clock;

$arrays
  task check(input integer which, input integer positions, input integer depth,
             input integer channels);
    integer first_product, first_channel, at;
    begin
      chosen = which;
      for (at = 0; at < positions * channels; at = at + 1) totals[at] = 0;
      for (first_channel = 0; first_channel < channels; first_channel = first_channel + COLUMNS)
        for (first_product = 0; first_product < depth; first_product = first_product + ROWS) begin
          load_weights(first_product, first_channel, depth, channels);
          stream(first_product, first_channel, positions, depth, channels);
        end
      for (at = 0; at < positions * channels; at = at + 1) begin
        checked = checked + 1;
        if (totals[at] !== expected[at]) begin
          errors = errors + 1;
          if (errors <= 10)
            $$display("position %0d, channel %0d: %0d, expected %0d", at / channels,
                     at % channels, totals[at], expected[at]);
        end
      end
    end
  endtask

  task load_weights(input integer first_product, input integer first_channel,
                    input integer depth, input integer channels);
    integer row, column;
    begin
      for (row = ROWS - 1; row >= 0; row = row - 1) begin
        for (column = 0; column < COLUMNS; column = column + 1)
          if (first_product + row < depth && first_channel + column < channels) begin
            weights[8*column+:8] =
              weight_codes[(first_product + row) * channels + first_channel + column];
            used[column] = 1'b1;
          end else begin
            weights[8*column+:8] = 8'd0;
            used[column] = 1'b0;
          end
        load = 1'b1;
        @(negedge clock);
      end
      load = 1'b0;
    end
  endtask

  task stream(input integer first_product, input integer first_channel,
              input integer positions, input integer depth, input integer channels);
    integer cycle, row, column, position;
    begin
      for (cycle = 0; cycle < positions + ROWS + COLUMNS - 2; cycle = cycle + 1) begin
        for (row = 0; row < ROWS; row = row + 1) begin
          position = cycle - row;
          if (position >= 0 && position < positions && first_product + row < depth)
            activations[8*row+:8] = activation_codes[position * depth + first_product + row];
          else activations[8*row+:8] = 8'd0;
        end
        @(negedge clock);
        for (column = 0; column < COLUMNS; column = column + 1) begin
          position = cycle - (ROWS - 1) - column;
          if (position >= 0 && position < positions && first_channel + column < channels)
            totals[position * channels + first_channel + column] =
              totals[position * channels + first_channel + column] + sums[32*column+:32];
        end
      end
    end
  endtask

  initial begin
    @(negedge clock);
$checks
    if (errors == 0) $$display("PASSED: all %0d accumulators of $sites sites are right", checked);
    else $$display("FAILED: %0d of %0d accumulators are wrong", errors, checked);
    $$finish;
  end
endmodule
