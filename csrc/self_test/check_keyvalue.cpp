#include "insertion.hpp"
#include "pycryo/keyvalue.hpp"

namespace pycryo::self_test {
namespace {

struct Lists {
  std::vector<std::int64_t> key;
  Sums sums;

  explicit Lists(std::int64_t n) : key(n), sums(n) {}
  KeyValueSpace space() { return {key.data(), sums.re.data(), sums.im.data(), sums.weight.data()}; }
  KeyValues values() const {
    return {key.data(), sums.re.data(), sums.im.data(), sums.weight.data(), static_cast<std::int64_t>(key.size())};
  }
};

void check_merge(Case& of) {
  std::vector<KeyValues> lists;
  for (std::int64_t i = 0; i < of.number<std::int64_t>("n_list"); ++i) {
    const std::string number = std::to_string(i);
    lists.push_back({of.get<std::int64_t>("key" + number), of.get<double>("re" + number), of.get<double>("im" + number),
                     of.get<double>("weight" + number), of.extent("key" + number, 0)});
  }
  const std::vector<std::int64_t> bounds = merge_bounds(lists, of.threads());
  const std::vector<std::int64_t> counts = count_merged(lists, bounds, of.threads());
  std::int64_t n = 0;
  for (const std::int64_t each : counts) n += each;
  Lists merged(n);
  write_merged(lists, bounds, counts, merged.space(), of.threads());
  of.expect("key", merged.key);
  merged.sums.expect(of);
}

}  // namespace

void check_keyvalue(Case& of) {
  if (of.function() == "merge_key_values") return check_merge(of);
  const Insertion in(of);
  const std::vector<TileKeyValues> tiles = collect_key_values(in.images, in.entries, in.slab, in.quanta, of.threads());
  Lists lists(count_collected(tiles));
  write_collected(tiles, lists.space(), of.threads());
  bool ascending = true;
  for (std::size_t i = 1; i < lists.key.size(); ++i) ascending = ascending && lists.key[i - 1] < lists.key[i];
  of.require(ascending, "keys do not ascend");
  of.require(count_key_values(in.images, in.entries, in.slab, of.threads()) >= lists.values().n, "counted too few");
  Sums dense(in.n_voxel());
  add_key_values(keys_between(lists.values(), in.first_voxel(), in.first_voxel() + in.n_voxel()), in.first_voxel(),
                 dense.re.data(), dense.im.data(), dense.weight.data(), of.threads());
  dense.expect(of);
}

}  // namespace pycryo::self_test
