// A weight-stationary systolic array whose elements multiply with an approximate circuit.
//
// Loading: while `load` is high, weights move down by one row per cycle, so that the bottom row's
// come first. Then they stay. Computing: the activation of row r enters from the left in cycle
// t + r and moves right by one column per cycle; sums move down by one row per cycle. At the end of
// cycle t + ROWS - 1 + c, column c gives
//     sum over r of T[activation r, weight (r, c)]
// where T is the circuit's table, its ports exchanged if SWAPPED. An element whose weight is not
// `used` adds nothing: a circuit's product by zero need not be zero.
`default_nettype wire

module processing_element #(
  parameter CIRCUIT = 0,
  parameter SWAPPED = 0
) (
  input wire clock,
  input wire load,
  input wire signed [7:0] weight_in,
  input wire used_in,
  input wire signed [7:0] activation_in,
  input wire signed [31:0] sum_in,
  output reg signed [7:0] weight,
  output reg used,
  output reg signed [7:0] activation,
  output reg signed [31:0] sum
);
  wire signed [16:0] product;

  multiplier #(.CIRCUIT(CIRCUIT), .SWAPPED(SWAPPED)) circuit (
    .activation(activation_in),
    .weight(weight),
    .product(product)
  );

  always @(posedge clock) begin
    if (load) begin
      weight <= weight_in;
      used <= used_in;
    end
    activation <= activation_in;
    sum <= used ? sum_in + {{15{product[16]}}, product} : sum_in;
  end
endmodule

module processing_array #(
  parameter ROWS = 8,
  parameter COLUMNS = 4,
  parameter CIRCUIT = 0,
  parameter SWAPPED = 0
) (
  input wire clock,
  input wire load,
  input wire [8*COLUMNS-1:0] weights,
  input wire [COLUMNS-1:0] used,
  input wire [8*ROWS-1:0] activations,
  output wire [32*COLUMNS-1:0] sums
);
  genvar row, column;
  generate
    for (row = 0; row < ROWS; row = row + 1) begin : rows
      for (column = 0; column < COLUMNS; column = column + 1) begin : columns
        wire signed [7:0] weight_above, activation_left, weight_here, activation_here;
        wire used_above, used_here;
        wire signed [31:0] sum_above, sum_here;

        if (row == 0) begin : top
          assign weight_above = weights[8*column+:8];
          assign used_above = used[column];
          assign sum_above = 32'sd0;
        end else begin : below
          assign weight_above = rows[row-1].columns[column].weight_here;
          assign used_above = rows[row-1].columns[column].used_here;
          assign sum_above = rows[row-1].columns[column].sum_here;
        end
        if (column == 0) begin : edge_
          assign activation_left = activations[8*row+:8];
        end else begin : inner
          assign activation_left = rows[row].columns[column-1].activation_here;
        end

        processing_element #(.CIRCUIT(CIRCUIT), .SWAPPED(SWAPPED)) element (
          .clock(clock),
          .load(load),
          .weight_in(weight_above),
          .used_in(used_above),
          .activation_in(activation_left),
          .sum_in(sum_above),
          .weight(weight_here),
          .used(used_here),
          .activation(activation_here),
          .sum(sum_here)
        );
        if (row == ROWS - 1) begin : bottom
          assign sums[32*column+:32] = sum_here;
        end
      end
    end
  endgenerate
endmodule
